package rabbitmq

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	amqp "github.com/rabbitmq/amqp091-go"
)

// storeTimeout is how long an answer of JetStream may take.
const storeTimeout = 10 * time.Second

// item is a delivery that is not acknowledged yet.
type item struct {
	delivery amqp.Delivery
	mapped
}

// answer is what JetStream says to a message that was published.
type answer struct {
	*item
	ack *jetstream.PubAck
	err error
}

// flight is what a session holds: deliveries that RabbitMQ has not been told to forget. It ends with the session, and what
// it holds is forgotten, because RabbitMQ delivers it again.
type flight struct {
	*drain
	session *session
	worked  func()
	taken   int // deliveries

	answers  chan answer // has room for all that can be in flight, so that whoever sends never waits
	inFlight int         // published, without an answer
	again    []*item     // to be tried again, when retry fires; no delivery is taken meanwhile

	retry *time.Timer // stopped while again is empty
	idle  *time.Timer
	tick  *time.Ticker
}

func newFlight(d *drain, s *session, worked func()) *flight {
	f := &flight{
		drain: d, session: s, worked: worked, answers: make(chan answer, d.Prefetch),
		retry: time.NewTimer(0), idle: time.NewTimer(d.Idle), tick: time.NewTicker(progressEvery),
	}
	f.retry.Stop()
	return f
}

func (f *flight) stop() {
	f.retry.Stop()
	f.idle.Stop()
	f.tick.Stop()
}

// run returns when the work is done, or ctx has ended, and nothing is in flight; and errMore to go on with another session.
// finished says that the queue is empty.
func (f *flight) run(ctx context.Context, deliveries <-chan amqp.Delivery) (finished bool, err error) {
	done, stopping := ctx.Done(), false
	for {
		if f.inFlight == 0 && (stopping || len(f.again) == 0 && (finished || f.full())) {
			return finished && !stopping, nil
		}
		if f.past() && f.inFlight == 0 && len(f.again) == 0 {
			return false, errMore
		}
		in := deliveries
		if stopping || finished || f.full() || f.past() || len(f.again) > 0 {
			in = nil
		}
		select {
		case d, ok := <-in:
			if !ok {
				return false, f.session.lost()
			}
			err = f.take(ctx, d)
		case e := <-f.session.closed:
			if e != nil {
				return false, e
			}
			return false, errors.New("the connection was closed")
		case a := <-f.answers:
			err = f.answered(ctx, a)
		case <-f.retry.C:
			err = f.tryAgain(ctx)
		case <-f.idle.C:
			finished, err = f.isEmpty()
		case <-f.tick.C:
			err = f.progress()
		case <-done:
			done, stopping = nil, true
			err = f.session.ch.Cancel(consumerTag, true) // no more deliveries, which would only go back
		}
		if err != nil {
			return false, err
		}
	}
}

// full reports whether as many messages were taken as Limit allows.
func (f *flight) full() bool {
	return f.Limit > 0 && f.counts.Acked+uint64(f.inFlight)+uint64(len(f.again)) >= uint64(f.Limit) //nolint:gosec // none is negative
}

// take maps a delivery and stores it.
func (f *flight) take(ctx context.Context, d amqp.Delivery) error {
	f.worked()
	f.idle.Reset(f.Idle)
	f.taken++
	f.counts.Delivered++
	if d.Redelivered {
		f.counts.Redelivered++
	}
	return f.store(ctx, &item{delivery: d, mapped: f.mapped(&d)})
}

// store publishes an item, or writes its dead letter. What fails is tried again later.
func (f *flight) store(ctx context.Context, i *item) error {
	if err := closed(f.NATS); err != nil {
		return err
	}
	if i.letter != nil {
		return f.bury(ctx, i)
	}
	if !f.NATS.IsConnected() { // the NATS library would keep the message and send it much later
		f.later(i, nats.ErrDisconnected)
		return nil
	}
	switch err := f.publish(ctx, i); {
	case errors.Is(err, nats.ErrMaxPayload):
		i.mapped = f.smaller(&i.delivery, i.mapped)
		return f.store(ctx, i)
	case err != nil:
		f.later(i, err)
	default:
		f.inFlight++
	}
	return nil
}

// closed returns a finalError if the connection to NATS is closed for good, as after NATS has refused its user.
func closed(nc *nats.Conn) error {
	if !nc.IsClosed() {
		return nil
	}
	return finalError{fmt.Errorf("the connection to NATS was closed: %w", cmp.Or(nc.LastError(), nats.ErrConnectionClosed))}
}

// bury writes an item's dead letter.
func (f *flight) bury(ctx context.Context, i *item) error {
	if err := f.letters.Write(context.WithoutCancel(ctx), i.letter); err != nil {
		f.later(i, err)
		return nil
	}
	f.storeWorks()
	if f.counts.DeadLettered++; f.counts.DeadLettered == 1 {
		f.Logger.WarnContext(ctx, "a message became a dead letter; `arrakis dlq list` shows this one and those that follow",
			"reason", i.letter.Reason, "err", i.letter.Cause)
	}
	return f.forget(i)
}

func (f *flight) publish(ctx context.Context, i *item) error {
	done := func(ack *jetstream.PubAck, err error) { f.answers <- answer{i, ack, err} }
	return f.mux.Publish(ctx, i.msg, time.Now().Add(storeTimeout), done)
}

// answered takes an answer of JetStream.
func (f *flight) answered(ctx context.Context, a answer) error {
	f.inFlight--
	const exceedsMaximum jetstream.ErrorCode = 10054 // "message size exceeds maximum allowed"
	api, ok := errors.AsType[*jetstream.APIError](a.err)
	switch {
	case ok && api.ErrorCode == exceedsMaximum:
		a.mapped = f.smaller(&a.delivery, a.mapped)
		return f.store(ctx, a.item)
	case a.err != nil:
		f.later(a.item, a.err)
		return nil //nolint:nilerr // it is tried again
	case a.ack.Duplicate:
		f.counts.Duplicates++
	default:
		f.counts.Stored++
	}
	f.storeWorks()
	return f.forget(a.item)
}

// forget tells RabbitMQ to forget a delivery.
func (f *flight) forget(i *item) error {
	f.idle.Reset(f.Idle)
	f.counts.Acked++
	return i.delivery.Ack(false)
}

// later puts an item off.
func (f *flight) later(i *item, err error) {
	if len(f.again) == 0 {
		f.retry.Reset(f.trouble.pauses.next())
	}
	f.storeFails(err)
	f.again = append(f.again, i)
}

// tryAgain tries what was put off. The first one that fails puts off the others too: a dead letter that cannot be written
// takes seconds.
func (f *flight) tryAgain(ctx context.Context) error {
	items := f.again
	f.again = nil
	for n, i := range items {
		if err := f.store(ctx, i); err != nil {
			return err
		}
		if len(f.again) > 0 {
			f.again = append(f.again, items[n+1:]...)
			return nil
		}
	}
	return nil
}

// isEmpty reports whether the queue is empty, so that the work is done.
func (f *flight) isEmpty() (bool, error) {
	f.idle.Reset(f.Idle)
	if f.Follow || f.inFlight > 0 || len(f.again) > 0 {
		return false, nil
	}
	_, err := f.look(f.session.ch)
	return err == nil && f.counts.Left == 0, err
}

// progress tells Progress, and shows that the session works also while nothing comes.
func (f *flight) progress() error {
	if _, err := f.look(f.session.ch); err != nil {
		return err
	}
	f.worked()
	if f.Progress != nil {
		f.Progress(f.counts)
	}
	return nil
}
