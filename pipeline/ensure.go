package pipeline

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"arrakis/pipeline/streams"
)

// ensureTimeout bounds one try to create what is missing. One look or change that is not answered takes a part of it.
const ensureTimeout = 20 * time.Second

// ensurer creates missing streams and consumers. It is safe for concurrent use: when several goroutines miss one at the
// same time, one of them creates it and the others wait.
type ensurer struct {
	js      jetstream.JetStream
	records *streams.Records
	options streams.Options
	log     *slog.Logger

	failure atomic.Pointer[string] // why the last try failed; nil if it succeeded; written under mu

	mu      sync.Mutex // held while streams are created; protects the fields below
	last    time.Time  // when the last try ended
	err     error      // of the last try
	without string     // what workers do without, as it was logged last; "" for nothing
}

// ensure creates missing streams and consumers, at most once in rejoinDelay. It logs only changes: that it cannot, and
// that it can again.
func (e *ensurer) ensure(ctx context.Context) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if time.Since(e.last) < rejoinDelay {
		return e.err
	}
	limited, cancel := context.WithTimeout(ctx, ensureTimeout)
	defer cancel()
	err := streams.Ensure(limited, e.js, e.records, e.options, e.log)
	if ctx.Err() != nil {
		return err // the caller has given up: nothing is learned
	}
	err = e.withoutLocked(ctx, err)
	e.last, e.err = time.Now(), err
	if err == nil {
		if e.failure.Swap(nil) != nil {
			e.log.InfoContext(ctx, "streams can be created and checked again")
		}
		return nil
	}
	why := err.Error()
	if e.failure.Swap(&why) == nil {
		e.log.WarnContext(ctx, "streams cannot be created or checked: trying again", "err", err)
	}
	return err
}

// withoutLocked takes an [*streams.OptionalError] for success, and logs it once. The caller must hold e.mu.
func (e *ensurer) withoutLocked(ctx context.Context, err error) error {
	var optional *streams.OptionalError
	if !errors.As(err, &optional) {
		if err == nil && e.without != "" {
			e.without = ""
			e.log.InfoContext(ctx, "all streams exist again")
		}
		return err
	}
	if e.without != err.Error() {
		e.without = err.Error()
		e.log.WarnContext(ctx, "doing without a stream: docs/streams.md says what that means", "err", err)
	}
	return nil
}

// wait repeats ensure until there is a consumer that can be used. What else is missing or does not answer, such as one
// consumer without a leader, keeps no other from being used: its source waits for it, and /readyz says so, as when it
// is lost later. wait returns false when ctx ends first.
func (e *ensurer) wait(ctx context.Context) bool {
	for attempt := 1; ctx.Err() == nil; attempt++ {
		if err := e.ensure(ctx); !errors.Is(err, streams.ErrNoConsumer) {
			return ctx.Err() == nil
		}
		select {
		case <-ctx.Done():
		case <-time.After(backoff(attempt)):
		}
	}
	return false
}

const (
	firstDelay   = time.Second
	longestDelay = 30 * time.Second
)

// backoff is the delay after the n-th failure, from 1: firstDelay, and twice the last one each time, up to longestDelay.
// Jitter shortens it by up to a fifth, so that what failed together is not tried again together.
func backoff(n int) time.Duration {
	d := longestDelay
	if shift := n - 1; shift < 5 {
		d = min(longestDelay, firstDelay<<max(shift, 0))
	}
	return d - rand.N(d/5) //nolint:gosec // jitter
}
