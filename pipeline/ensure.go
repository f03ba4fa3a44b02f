package pipeline

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"arrakis/pipeline/streams"
)

// ensurer creates missing streams and consumers. It is safe for concurrent use: when several goroutines miss one at the
// same time, one of them creates it and the others wait.
type ensurer struct {
	js      jetstream.JetStream
	options streams.Options
	log     *slog.Logger

	mu   sync.Mutex // held while streams are created; protects last
	last time.Time  // the last time that nothing was missing
}

// ensure creates missing streams and consumers, at most once in rejoinDelay.
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

// wait repeats ensure until nothing is missing. It returns false when ctx ends first.
func (e *ensurer) wait(ctx context.Context) bool {
	for attempt := 1; ctx.Err() == nil; attempt++ {
		err := e.ensure(ctx)
		if err == nil {
			return true
		}
		delay := backoff(attempt)
		e.log.WarnContext(ctx, "streams cannot be created or checked: trying again", "err", err, "delay", delay.String())
		select {
		case <-ctx.Done():
		case <-time.After(delay):
		}
	}
	return false
}
