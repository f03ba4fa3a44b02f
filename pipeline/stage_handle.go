package pipeline

import (
	"context"
	"errors"
	"log/slog"
	"runtime/debug"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"arrakis/shard"
	"arrakis/tenant"
)

// handleStage is the third stage. It has workers that run one handler each, and communities take turns.
type handleStage struct {
	handlers, fallbacks *Handlers
	services            *services
	features            func(*tenant.Tenant) []string // stored once, so that messages do not allocate it
	concurrency         int
	timeout             time.Duration // for one handler
	commandTTL          time.Duration // 0: commands never expire
	retries             retryPolicy
	attempts            *attemptCounter
	ackWait             func() time.Duration // the shortest ack wait of all consumers
	metrics             *metrics
	log                 *slog.Logger

	admitted *fairQueue                // in
	ended    *shard.Mailbox[*delivery] // out
}

// run runs the workers. It returns when the queue is closed and empty.
func (s *handleStage) run(work context.Context) error {
	ticking, stop := context.WithCancel(work)
	var ticker errgroup.Group
	ticker.Go(func() error { s.tellInProgress(ticking); return nil })
	defer func() {
		stop()
		_ = ticker.Wait() // returns nil only
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
				took := s.handle(work, finishing, d)
				if err := s.ended.Put(finishing, d); err != nil {
					return err
				}
				d, ok = s.admitted.doneAndNext(d, took)
			}
			return nil
		})
	}
	return workers.Wait()
}

// handle runs the handler of d and sets the disposition of d. It returns how long the handler took, 0 if none ran.
// finishing does not end when work is aborted.
func (s *handleStage) handle(work, finishing context.Context, d *delivery) (took time.Duration) {
	if work.Err() != nil {
		d.disposition = aborted()
		return 0
	}
	if now := time.Now(); d.expired(s.commandTTL, now) { // while it waited for its turn
		d.disposition = expired()
		d.unused = s.admitted.ours(d, now) // otherwise another process may have handled it with these permits
		return 0
	}
	if !s.attempts.begin(work, d) {
		return 0
	}
	defer s.attempts.end(work, finishing, d)
	began := time.Now()
	ctx, cancel := context.WithDeadline(work, began.Add(s.timeout))
	defer cancel()
	result, err := s.call(ctx, d)
	if err == nil {
		d.result, err = encodeResult(result)
	}
	now := time.Now()
	took = now.Sub(began)
	if err != nil && work.Err() != nil {
		d.disposition = aborted()
		return took
	}
	t := d.try(now, s.commandTTL)
	d.disposition = s.retries.handled(err, &t)
	d.latency = now.Sub(d.received)
	s.metrics.handle.Observe(took.Seconds())
	if err != nil {
		s.logFailure(work, d, err)
	}
	return took
}

// call runs the first handler that exists for d: a registered Go function, a NATS micro service, or a fallback.
func (s *handleStage) call(ctx context.Context, d *delivery) (any, error) {
	name := d.Name(d.Kind)
	if f, ok := s.handlers.find(d.Kind, name); ok {
		return s.invoke(ctx, f, d)
	}
	result, err := s.services.request(ctx, d, name)
	if errors.As(err, new(*noHandlerError)) {
		if f, ok := s.fallbacks.find(d.Kind, name); ok {
			return s.invoke(ctx, f, d)
		}
	}
	return result, err
}

// invoke runs a Go function. Only invoke recovers a handler's panic.
func (s *handleStage) invoke(ctx context.Context, f Handler, d *delivery) (result any, err error) {
	defer func() {
		if v := recover(); v != nil {
			result, err = nil, &panicError{value: v, stack: debug.Stack()}
		}
	}()
	d.RequestID, d.features = d.requestID(), s.features
	return f(ctx, &d.Message)
}

// tellInProgress tells JetStream, before their ack waits pass, that waiting and running messages are in progress. It
// checks them every sixth of the shortest ack wait, at least once a second, and returns when ctx ends.
func (s *handleStage) tellInProgress(ctx context.Context) {
	const longest = time.Second // between two checks, because an operator may shorten an ack wait at any time
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-time.After(min(longest, s.ackWait()/6)):
			for _, d := range s.admitted.dueInProgress(now) {
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
	}
	var panicked *panicError
	if errors.As(err, &panicked) {
		attrs = append(attrs, slog.Any("panic", panicked.value), slog.String("stack", string(panicked.stack)))
		s.log.LogAttrs(ctx, slog.LevelError, "a handler panicked", attrs...)
		return
	}
	s.log.LogAttrs(ctx, slog.LevelDebug, "a handler failed", append(attrs, slog.Any("err", err))...)
}
