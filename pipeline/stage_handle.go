package pipeline

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"time"

	"golang.org/x/sync/errgroup"
)

// handle is the third stage: workers that take turns between communities. It
// returns when the queue is closed and empty.
func (p *Pipeline) handle(work context.Context) error {
	keeping, stop := context.WithCancel(work)
	var keeper errgroup.Group
	keeper.Go(func() error { p.keep(keeping); return nil })
	defer func() {
		stop()
		_ = keeper.Wait() // returns nil only
	}()

	finishing := context.WithoutCancel(work) // what has run has to end, also after an abort
	var workers errgroup.Group
	for worker := range p.o.HandlerConcurrency {
		workers.Go(func() error {
			for {
				d, ok := p.admitted.take(worker)
				if !ok {
					return nil
				}
				p.serve(work, d)
				if err := p.finished.Put(finishing, d); err != nil {
					return err
				}
			}
		})
	}
	return workers.Wait()
}

// serve runs the handler of d and concludes.
func (p *Pipeline) serve(work context.Context, d *delivery) {
	if work.Err() != nil {
		d.conclusion = concludeAborted()
		return
	}
	began := time.Now()
	ctx, cancel := context.WithDeadline(work, began.Add(p.o.HandlerTimeout))
	defer cancel()
	result, err := p.call(ctx, d)
	if err == nil {
		d.result, err = encodeResult(result)
	}
	if err != nil && work.Err() != nil {
		d.conclusion = concludeAborted()
		return
	}
	d.conclusion = concludeHandled(err, d.Attempt, p.o.MaxAttempts)
	now := time.Now()
	d.latency = now.Sub(d.received)
	p.metrics.handle.Observe(now.Sub(began).Seconds())
	if err != nil {
		p.logFailure(work, d, err)
	}
}

// call has d handled: by the Go function that is registered for it, by a NATS
// micro service, or by a fallback.
func (p *Pipeline) call(ctx context.Context, d *delivery) (any, error) {
	name := d.Name(d.Kind)
	if f, ok := p.o.Handlers.find(d.Kind, name); ok {
		return p.invoke(ctx, f, d)
	}
	result, err := p.ask(ctx, d, name)
	if errors.Is(err, errNoHandler) {
		if f, ok := p.o.Fallbacks.find(d.Kind, name); ok {
			return p.invoke(ctx, f, d)
		}
	}
	return result, err
}

// invoke runs a Go function. It is the one place where a handler's panic is
// contained.
func (p *Pipeline) invoke(ctx context.Context, f Handler, d *delivery) (result any, err error) {
	defer func() {
		if v := recover(); v != nil {
			result, err = nil, &panicError{value: v, stack: debug.Stack()}
		}
	}()
	d.RequestID, d.features = d.requestID(), p.featuresOf
	return f(ctx, &d.Message)
}

// encodeResult makes JSON of what a handler returned.
func encodeResult(result any) (json.RawMessage, error) {
	switch r := result.(type) {
	case nil:
		return nil, nil
	case json.RawMessage:
		if !json.Valid(r) {
			return nil, errors.New("the handler's result is not JSON")
		}
		return r, nil
	}
	data, err := json.Marshal(result)
	if err != nil {
		return nil, fmt.Errorf("the handler's result: %w", err)
	}
	return data, nil
}

// keep tells JetStream of messages that wait or run for long that they are in
// progress, until ctx ends. It looks twice in the time after which a message is
// due, which is a third of its ack wait.
func (p *Pipeline) keep(ctx context.Context) {
	for {
		shortest := 6 * time.Second
		for _, s := range p.sources {
			shortest = min(shortest, time.Duration(s.ackWait.Load()))
		}
		select {
		case <-ctx.Done():
			return
		case now := <-time.After(shortest / 6):
			for _, d := range p.admitted.due(now) {
				// A failure shows as a redelivery; an acknowledged one is refused, rightly.
				_ = d.msg.InProgress()
			}
		}
	}
}

// logFailure logs a handler's error: a panic as the bug that it is, the rest
// for those who look for it.
func (p *Pipeline) logFailure(ctx context.Context, d *delivery, err error) {
	attrs := []slog.Attr{
		slog.String("event_id", d.EventID), slog.String("community_id", d.Community),
		slog.String("kind", d.Kind.String()), slog.String("name", d.Name(d.Kind)), slog.Int("attempt", d.Attempt),
	}
	var panicked *panicError
	if errors.As(err, &panicked) {
		attrs = append(attrs, slog.Any("panic", panicked.value), slog.String("stack", string(panicked.stack)))
		p.log.LogAttrs(ctx, slog.LevelError, "a handler panicked", attrs...)
		return
	}
	p.log.LogAttrs(ctx, slog.LevelDebug, "a handler failed", append(attrs, slog.Any("err", err))...)
}
