package pipeline

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"arrakis/pipeline/streams"
)

// ensurer makes the streams and consumers that are missing. It is safe for
// concurrent use: those who miss one at the same time wait for one of them to
// make it.
type ensurer struct {
	js      jetstream.JetStream
	options streams.Options
	log     *slog.Logger

	mu   sync.Mutex // held while streams are made; protects last
	last time.Time  // when nothing was missing
}

// ensure makes what is missing, at most once in rejoinDelay.
func (e *ensurer) ensure(ctx context.Context) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if time.Since(e.last) < rejoinDelay {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, 4*requestTimeout)
	defer cancel()
	if err := streams.Ensure(ctx, e.js, e.options, e.log); err != nil {
		return err
	}
	e.last = time.Now()
	return nil
}

// wait tries until nothing is missing, or ctx ends, for which it returns false.
func (e *ensurer) wait(ctx context.Context) bool {
	for attempt := 1; ctx.Err() == nil; attempt++ {
		err := e.ensure(ctx)
		if err == nil {
			return true
		}
		delay := backoff(attempt)
		e.log.WarnContext(ctx, "streams cannot be made or checked: trying again", "err", err, "delay", delay.String())
		select {
		case <-ctx.Done():
		case <-time.After(delay):
		}
	}
	return false
}
