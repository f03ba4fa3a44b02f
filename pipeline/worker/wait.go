package worker

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/redis/go-redis/v9"
	"golang.org/x/sync/errgroup"

	"arrakis/limiter"
	"arrakis/pipeline/streams"
)

const (
	firstRetry = 250 * time.Millisecond // the first wait between two tries
	lastRetry  = 5 * time.Second        // the longest wait

	// answerTimeout is how long a server has to answer one try, and the longest delay of a start without Redis.
	answerTimeout = 5 * time.Second
)

// waitForServers waits until NATS and JetStream answer. It waits for Redis only under the policy Closed, which could
// not handle anything without it. An error is ctx's.
func (w *Worker) waitForServers(ctx context.Context) error {
	js, err := jetstream.New(w.o.NATS)
	if err != nil {
		return err
	}
	log := w.o.Logger
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		err := retry(ctx, log, "NATS", func(context.Context) error {
			if w.o.NATS.IsConnected() {
				return nil
			}
			return unreachable(cmp.Or(w.o.NATS.LastError(), nats.ErrNoServers))
		})
		if err != nil {
			return err
		}
		return retry(ctx, log, "JetStream", func(ctx context.Context) error {
			ctx, cancel := context.WithTimeout(ctx, answerTimeout)
			defer cancel()
			_, err := js.AccountInfo(ctx)
			return streams.Explain(err)
		})
	})
	g.Go(func() error { return w.waitForRedis(ctx) })
	return g.Wait()
}

// waitForRedis waits until Redis answers, under the policy Closed. Under the other policies it asks once, and says that
// the worker starts without Redis if there is no answer.
func (w *Worker) waitForRedis(ctx context.Context) error {
	ask := func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, answerTimeout)
		defer cancel()
		if err := w.o.Redis.Ping(ctx).Err(); err != nil {
			return unreachable(err)
		}
		return nil
	}
	if w.o.OnRedisDown == limiter.Closed {
		w.awaitsRedis.Store(true)
		defer w.awaitsRedis.Store(false)
		return retry(ctx, w.o.Logger, "Redis", ask)
	}
	if err := ask(ctx); err != nil && ctx.Err() == nil {
		w.o.Logger.WarnContext(ctx, "starting without Redis: until it answers, communities have the free tier",
			"policy", w.o.OnRedisDown.String(), "meanwhile", withoutRedis[w.o.OnRedisDown], "err", err)
	}
	return ctx.Err()
}

// unreachable adds to an error of connecting to a server what to look at.
func unreachable(err error) error {
	if RefusesUser(err) {
		return fmt.Errorf("%w; it runs, but refuses the user: are the user and the password or key right?", err)
	}
	return fmt.Errorf("%w; is it running, and is its URL right?", err)
}

// RefusesUser reports whether err, of connecting to NATS or Redis, says that the server runs, but refuses the user.
func RefusesUser(err error) bool {
	refusals := []error{nats.ErrAuthorization, nats.ErrAuthExpired, nats.ErrAuthRevoked, nats.ErrAccountAuthExpired}
	return redis.IsAuthError(err) || redis.IsPermissionError(err) ||
		slices.ContainsFunc(refusals, func(refusal error) bool { return errors.Is(err, refusal) })
}

// retry calls try until it succeeds or ctx ends. It logs each failure, and a success after failures. The waits double
// up to lastRetry. Jitter shortens each by up to a quarter, so that processes that started together do not try
// together.
func retry(ctx context.Context, log *slog.Logger, what string, try func(ctx context.Context) error) error {
	wait := firstRetry
	for attempt := 1; ; attempt++ {
		err := try(ctx)
		if err == nil {
			if attempt > 1 {
				log.InfoContext(ctx, "wait is over", "for", what, "attempts", attempt)
			}
			return nil
		}
		if ctx.Err() != nil {
			return fmt.Errorf("wait for %s: %w", what, context.Cause(ctx))
		}
		log.WarnContext(ctx, "waiting", "for", what, "err", err, "attempt", attempt, "retry_in", wait.String())
		select {
		case <-ctx.Done():
		case <-time.After(wait - rand.N(wait/4)): //nolint:gosec // jitter
		}
		wait = min(2*wait, lastRetry)
	}
}
