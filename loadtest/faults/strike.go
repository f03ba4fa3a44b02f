package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"arrakis/loadtest/faults/audit"
	"arrakis/loadtest/program"
)

// quota is how many messages may be published by now, beside the bursts: as large a part of them as of the faults.
func (r *run) quota() int { return int(float64(r.o.messages) * r.passed() / float64(r.all)) }

// passed is how many slots have passed.
func (r *run) passed() float64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.began.IsZero() {
		return 0
	}
	part := float64(time.Since(r.began)) / float64(slot)
	return float64(r.slots) + min(part, float64(r.current))
}

// strike waits until all is ready, and then injects the faults while the load is published. It returns when both are
// over.
func (r *run) strike(ctx context.Context, p *program.Progress) error {
	if _, err := r.recovered(ctx); err != nil {
		return fmt.Errorf("before the first fault: %w; the logs are in %s", err, r.dir)
	}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return r.load.run(ctx) })
	g.Go(func() error { return r.flood(ctx) })
	g.Go(func() error {
		began := time.Now()
		draw := rand.New(rand.NewPCG(r.o.seed, 2)) //nolint:gosec // a plan, not a secret
		for _, k := range r.plan {
			r.enter(k)
			until := time.Now().Add(time.Duration(k.slots) * slot)
			if err := program.Pause(ctx, between(draw, 0, slot/4)); err != nil {
				return err
			}
			f, err := r.hit(ctx, k, draw, began)
			if err != nil {
				return err
			}
			r.mu.Lock()
			r.faults = append(r.faults, f)
			r.mu.Unlock()
			p.Say("%-28s %-26s for %5.1fs, all ready after %4.1fs", f.Kind, f.Target, f.For.Seconds(), f.Recovered.Seconds())
			if err := program.Pause(ctx, time.Until(until)); err != nil {
				return err
			}
			r.leave(k)
		}
		return nil
	})
	return g.Wait()
}

// hit injects one fault and waits until all is ready again.
func (r *run) hit(ctx context.Context, k faultKind, draw *rand.Rand, began time.Time) (fault, error) {
	f := fault{Kind: k.name, At: time.Since(began)}
	from, wall := r.auditTime(), time.Now()
	err := k.inject(ctx, r, draw, &f)
	f.For = time.Since(began) - f.At
	if err == nil {
		f.Recovered, err = r.recovered(ctx)
	}
	if k.redisAway {
		r.away = append(r.away, outage{
			from: from, to: r.auditTime() + mergedWithin.Milliseconds(), began: wall, ended: time.Now().Add(mergedWithin),
		})
	}
	if err != nil {
		return f, fmt.Errorf("fault %q, %s: %w; the logs are in %s", f.Kind, f.Target, err, r.dir)
	}
	return f, nil
}

// recovered waits until all servers and workers are ready, and returns how long that took.
func (r *run) recovered(ctx context.Context) (time.Duration, error) {
	began := time.Now()
	ctx, cancel := context.WithTimeoutCause(ctx, recoverWithin, fmt.Errorf("not within %v", recoverWithin))
	defer cancel()
	err := program.Poll(ctx, func() error {
		errs := []error{r.serversAnswer(ctx)}
		for _, w := range r.workers {
			errs = append(errs, w.ready(ctx))
		}
		return errors.Join(errs...)
	})
	return time.Since(began), err
}

// stepBack sets the clock of Redis back, and notes where.
func (r *run) stepBack(ctx context.Context, d time.Duration) error {
	at := r.auditTime()
	offset, err := r.redis.step(ctx, -d)
	if err == nil {
		r.steps = append(r.steps, audit.Step{Offset: offset, At: at, Back: d.Milliseconds()})
		r.back += d
	}
	return err
}

// outage is a time in which a worker could not reach Redis, or had not yet told it what it had done without.
type outage struct {
	from, to     int64     // by the audit's clock
	began, ended time.Time // by that of this process
}

// beyond is an attempt at a message that has had all its attempts.
type beyond struct {
	id      string
	attempt int
	at      time.Time
}

// tooMany are the attempts beyond the last that were made while all workers could reach Redis, where attempts are
// counted.
func (r *run) tooMany() (sentences []string) {
	for _, b := range r.beyond {
		if !slices.ContainsFunc(r.away, func(o outage) bool { return !b.at.Before(o.began) && b.at.Before(o.ended) }) {
			sentences = append(sentences, fmt.Sprintf("attempt %d of %d at %s", b.attempt, maxAttempts, b.id))
		}
	}
	return sentences
}

// mergedWithin is how long after an outage workers may take to tell Redis what they have admitted without it.
const mergedWithin = 5 * time.Second

// auditTime is the time now by the audit's clock: that of Redis, as if it had never been set back.
func (r *run) auditTime() int64 { return time.Now().Add(r.redis.offset + r.back).UnixMilli() }

// excused reports, under the policy local, whether Redis was away then. It is nil under the policy closed.
func (r *run) excused() func(at int64) bool {
	if r.o.onRedisDown == "closed" {
		return nil
	}
	return func(at int64) bool {
		return slices.ContainsFunc(r.away, func(o outage) bool { return o.from <= at && at <= o.to })
	}
}
