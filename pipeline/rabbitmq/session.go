package rabbitmq

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

// session is one connection to RabbitMQ with one channel. It is never used again after an error: a delivery can only be
// acknowledged on the channel that it came on.
type session struct {
	conn   *amqp.Connection
	ch     *amqp.Channel
	closed <-chan *amqp.Error // gets why the channel was closed; closed without one if this process has closed it
}

// openSession connects and opens a channel. The caller must close the session.
func openSession(ctx context.Context, server Server) (*session, error) {
	conn, err := server.dial(ctx)
	if err != nil {
		return nil, err
	}
	ch, err := conn.Channel()
	if err != nil {
		_ = conn.CloseDeadline(time.Now().Add(connectTimeout)) // the first error is the one to tell
		return nil, err
	}
	return &session{conn: conn, ch: ch, closed: ch.NotifyClose(make(chan *amqp.Error, 1))}, nil
}

// close closes the channel, after RabbitMQ has read all that was sent on it, and the connection. What was not acknowledged
// goes back to its queue.
func (s *session) close() {
	_ = s.conn.CloseDeadline(time.Now().Add(connectTimeout)) // it is of no more use, whatever the error
}

// lost is why the channel ended, for whoever has found that it has.
func (s *session) lost() error {
	select {
	case e, ok := <-s.closed:
		if ok && e != nil {
			return e
		}
	case <-time.After(time.Second): // the consumer was cancelled, and nothing else
		return errors.New("RabbitMQ has cancelled the consumer: was the queue deleted?")
	}
	return errors.New("the connection was lost")
}

// reason is why the channel ended, if it has, in place of an error that only says that it has.
func (s *session) reason(err error) error {
	if !s.ch.IsClosed() && !s.conn.IsClosed() {
		return err
	}
	if e := <-s.closed; e != nil { // it is closed with the channel
		return e
	}
	return err
}

// maxRefusals is how often in a row RabbitMQ may refuse a session, or end it at once, before that is an error: a node that
// starts again does not know its queues at first.
const maxRefusals = 10

// The pauses between two attempts: the first, and the longest.
const (
	firstPause = 100 * time.Millisecond
	lastPause  = 5 * time.Second
)

// pauses are the pauses between attempts at something that fails.
type pauses struct{ last time.Duration }

// next is the next pause: twice the one before, with jitter.
func (p *pauses) next() time.Duration {
	p.last = min(max(firstPause, 2*p.last), lastPause)
	return p.last - rand.N(p.last/4) //nolint:gosec // jitter
}

// wait waits for the next pause to pass. It returns false if ctx ends before.
func (p *pauses) wait(ctx context.Context) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(p.next()):
		return true
	}
}

// sessions runs use with one session after the other.
type sessions struct {
	server Server
	open   func(context.Context) (*session, error)
	// use returns nil when the work is done, and errMore if it needs another session to go on. It tells worked that it could
	// do something.
	use        func(ctx context.Context, s *session, worked func()) error
	reconnects *uint64
	log        *slog.Logger

	refusals int // in a row
	pauses   pauses
	away     bool // no session has worked since one was lost
}

// run returns nil when use does, or when ctx ends. Other errors: that of a first session that cannot be opened, a
// finalError of use, and the last of maxRefusals.
func (r *sessions) run(ctx context.Context) error {
	for opened := false; ; {
		s, err := r.open(ctx)
		if err == nil {
			opened = true
			if err = r.use(ctx, s, r.worked); err == nil || isFinal(err) {
				return err
			}
		}
		if errors.Is(err, errMore) {
			continue
		}
		err = r.server.explain(err)
		switch {
		case ctx.Err() != nil:
			return nil //nolint:nilerr // whoever stops the work does not need to know what else has ended
		case !opened:
			return err
		case Refused(err):
			if r.refusals++; r.refusals >= maxRefusals {
				return fmt.Errorf("%w; it has refused %d times in a row", err, r.refusals)
			}
		}
		*r.reconnects++
		if !r.away {
			r.away = true
			r.log.WarnContext(ctx, "RabbitMQ fails: connecting again", "err", err)
		}
		if !r.pauses.wait(ctx) {
			return nil
		}
	}
}

func (r *sessions) worked() {
	if r.away {
		r.log.Info("connection to RabbitMQ is back")
	}
	r.refusals, r.pauses, r.away = 0, pauses{}, false
}

// errMore means that a session has ended in order, and not all is done.
var errMore = errors.New("there is more")

// finalError ends the work: another connection to RabbitMQ would not help.
type finalError struct{ error }

func (e finalError) Unwrap() error { return e.error }

func isFinal(err error) bool {
	_, ok := errors.AsType[finalError](err)
	return ok
}
