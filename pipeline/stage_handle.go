package pipeline

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"golang.org/x/sync/errgroup"

	"arrakis/shard"
	"arrakis/tenant"
)

// handleStage is the third stage, in which communities take turns. Its workers run one Go function each. A request to a
// micro service needs no worker while it is in flight: what follows from the reply is done when the reply is there.
type handleStage struct {
	fallbacks   *Handlers // run if no micro service answers
	services    *services
	absent      *absent
	features    func(*tenant.Tenant) []string // stored once, so that messages do not allocate it
	concurrency int
	timeout     time.Duration // for one handler
	commandTTL  time.Duration // 0: commands never expire
	retries     retryPolicy
	attempts    *attemptCounter
	ackWait     func() time.Duration // the shortest ack wait of all consumers
	metrics     *metrics
	log         *slog.Logger

	interactions *interactions // nil without Discord

	admitted *fairQueue                // in; counts the handlers that run, of both sorts
	ended    *shard.Mailbox[*delivery] // out
	requests sync.WaitGroup            // requests in flight, and goroutines for what follows from their replies
}

// run runs the workers. It returns when the queue is closed and empty and no handler runs.
func (s *handleStage) run(work context.Context) error {
	if err := s.services.subscribe(s.concurrency); err != nil {
		return err
	}
	beside, stop := context.WithCancel(work)
	var besides sync.WaitGroup
	besides.Go(func() { s.services.replies.Run(beside) })
	besides.Go(func() { s.tellInProgress(beside) })
	defer func() {
		stop()
		besides.Wait()
	}()

	finishing := context.WithoutCancel(work) // after an abort, messages must still reach the metrics stage
	// Workers whose handlers ignore their context take no further message, so those that wait are given back here.
	giveBack := sync.OnceFunc(func() {
		waiting := s.admitted.abort()
		for _, d := range waiting {
			d.disposition = aborted()
		}
		_ = s.ended.Put(finishing, waiting...) // ended is open: it is closed after this stage has ended
	})
	notAborted := context.AfterFunc(work, giveBack)
	defer func() {
		if !notAborted() {
			giveBack() // waits for its end
		}
	}()
	var workers errgroup.Group
	for range s.concurrency {
		workers.Go(func() error {
			d, ok := s.admitted.next()
			for ok {
				if took, ended := s.handle(work, finishing, d); ended {
					d, ok = s.admitted.doneAndNext(d, took)
				} else {
					d, ok = s.admitted.next()
				}
			}
			return nil
		})
	}
	err := workers.Wait()
	s.requests.Wait()
	return err
}

// handle runs the Go function for d, or sends a request to a micro service. If d does not run any more when it returns, it
// says how long the handler took, 0 if none ran. finishing does not end when work is aborted.
func (s *handleStage) handle(work, finishing context.Context, d *delivery) (took time.Duration, ended bool) {
	began, begins := s.begin(work, d)
	if !begins {
		return 0, s.pass(finishing, d)
	}
	if d.trace != nil {
		d.traceHandler(began)
	}
	if d.discord {
		s.interactions.begin(d)
	}
	if d.function != nil {
		result, err := s.invoke(work, d.function, d, began)
		return s.finish(work, finishing, d, began, result, err)
	}
	s.requests.Add(1)
	err := s.services.send(work, d, began.Add(s.timeout), func(reply *nats.Msg, err error) {
		s.replied(work, finishing, d, began, reply, err)
	})
	if err == nil {
		return 0, false
	}
	s.requests.Done()
	return s.finish(work, finishing, d, began, nil, err)
}

// begin returns when the handler of d begins, or false if none must run. Then d has its disposition.
func (s *handleStage) begin(work context.Context, d *delivery) (began time.Time, begins bool) {
	now := d.received.Add(d.began)
	d.trace.Step(spanTurn, now)
	switch {
	case d.toForget():
		d.disposition = forgotten()
		return now, false
	case work.Err() != nil:
		d.disposition = aborted()
		return now, false
	case d.expired(s.commandTTL, now): // while it waited for its turn
		d.disposition = expired()
		d.unused = s.admitted.ours(d, now) // otherwise another process may have handled it with these permits
		return now, false
	case d.comesAgain():
		begins = s.attempts.begin(work, d) // asks Redis
		return time.Now(), begins
	default:
		return now, s.attempts.begin(work, d)
	}
}

// replied does what follows from a reply, or from the error that came instead. It is called by the goroutine that all
// replies come from. So what may take long gets a goroutine of its own: all errors, because Redis is told of them or a
// fallback runs; messages that were delivered before, because Redis is told of them too; interactions, whose progress may
// still be on its way; and long results. There are no more of these goroutines than handlers may run.
func (s *handleStage) replied(work, finishing context.Context, d *delivery, began time.Time, reply *nats.Msg, err error) {
	defer s.requests.Done()
	if err == nil {
		s.services.answered(d)
		s.absent.answered(work, d, began)
	}
	if err == nil && len(reply.Data) <= shortReply && !d.comesAgain() && d.progress == nil {
		if result, err := s.services.result(d, reply, nil); err == nil {
			s.finishRequest(work, finishing, d, began, result, nil)
			return
		}
	}
	s.requests.Go(func() {
		result, err := s.services.result(d, reply, err)
		if errors.As(err, new(*noHandlerError)) {
			if f, ok := s.fallbacks.find(d.Kind, d.Name(d.Kind)); ok {
				result, err = s.invoke(work, f, d, began)
			} else {
				s.absent.missing(work, d, time.Now())
			}
		}
		s.finishRequest(work, finishing, d, began, result, err)
	})
}

// shortReply is the size of the longest reply, in bytes, that is read on the goroutine of all replies.
const shortReply = 4 << 10

// finishRequest is finish for a request that was in flight without a worker.
func (s *handleStage) finishRequest(
	work, finishing context.Context, d *delivery, began time.Time, result json.RawMessage, err error,
) {
	if took, ended := s.finish(work, finishing, d, began, result, err); ended {
		s.admitted.done(d, took)
	}
}

// finish decides on d, whose handler returned result and err, and passes d on. It returns how long the handler took, and
// what pass returns.
func (s *handleStage) finish(
	work, finishing context.Context, d *delivery, began time.Time, result json.RawMessage, err error,
) (took time.Duration, ended bool) {
	d.progress.close()
	now := time.Now()
	took = now.Sub(began)
	if err != nil && work.Err() != nil {
		d.disposition = aborted()
	} else {
		d.result = result
		t := d.try(now, s.commandTTL)
		d.disposition = s.retries.handled(err, &t)
		d.latency = now.Sub(d.received)
		observe(s.metrics.handle, took, d.trace)
		if err != nil {
			s.logFailure(work, d, err)
		}
	}
	d.trace.EndHandler(now, d.failureName())
	s.attempts.end(work, finishing, d)
	return took, s.pass(finishing, d)
}

// pass passes d to the metrics stage. It returns false if d counts as running until it is settled: a message that is not
// done waits until RETRY or DEADLETTER has it. A community whose messages fail faster than they can be stored must not
// fill the pool with messages that wait for that, so they take its places among the handlers.
func (s *handleStage) pass(finishing context.Context, d *delivery) (ended bool) {
	if ended = d.settlement == ack; !ended {
		s.admitted.ends(d)
	}
	_ = s.ended.Put(finishing, d) // ended is open: it is closed after this stage has ended
	return ended
}

// invoke runs a Go function and encodes its result. Only invoke recovers a handler's panic.
func (s *handleStage) invoke(work context.Context, f Handler, d *delivery, began time.Time) (text json.RawMessage, err error) {
	ctx, cancel := context.WithDeadline(d.trace.HandlerContext(work), began.Add(s.timeout))
	defer cancel()
	defer func() {
		if v := recover(); v != nil {
			text, err = nil, &panicError{value: v, stack: debug.Stack()}
		}
	}()
	d.RequestID, d.features = d.requestID(), s.features
	result, err := f(ctx, &d.Message)
	if err != nil {
		return nil, err
	}
	return encodeResult(result)
}

// tellInProgress tells JetStream, before their ack waits pass, that waiting and running messages are in progress. It
// checks them every sixth of the shortest ack wait, at least once a second, and returns when ctx ends. Without a
// connection it tells nothing: the NATS library would tell it later, when it may not be true any more.
func (s *handleStage) tellInProgress(ctx context.Context) {
	const longest = time.Second // between two checks, because an operator may shorten an ack wait at any time
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-time.After(min(longest, s.ackWait()/6)):
			if !s.services.nc.IsConnected() {
				continue
			}
			for _, d := range s.admitted.dueInProgress(now, connections(s.services.nc)) {
				// A failure leads to a redelivery. For an acknowledged message the refusal is right.
				_ = d.msg.InProgress()
			}
		}
	}
}

// logFailure logs a handler's error. A panic is a bug and is logged as an error; all other errors are logged at level
// debug.
func (s *handleStage) logFailure(ctx context.Context, d *delivery, err error) {
	attrs := []slog.Attr{
		slog.String("event_id", d.EventID), slog.String("community_id", d.Community),
		slog.String("kind", d.Kind.String()), slog.String("name", d.Name(d.Kind)), slog.Int("attempt", d.Attempt),
		slog.Any("trace_id", d.traceID()),
	}
	var panicked *panicError
	if errors.As(err, &panicked) {
		attrs = append(attrs, slog.String("panic", withoutTokens(fmt.Sprint(panicked.value))), slog.String("stack", string(panicked.stack)))
		s.log.LogAttrs(ctx, slog.LevelError, "a handler panicked", attrs...)
		return
	}
	s.log.LogAttrs(ctx, slog.LevelDebug, "a handler failed", append(attrs, slog.String("err", withoutTokens(err.Error())))...)
}
