// Package redishealth says whether Redis is away, for everything in a process that uses the same Redis. It is the only
// place where that is decided.
//
// Redis counts as away after Options.Failures round trips in a row have failed for a reason that is the server's or the
// network's, not a key's ([ServerFailed]). From then on nothing asks Redis, so that nothing waits for a time-out. Only
// probes ([Health.Recover]) still reach it, and end that time once Redis takes writes again.
package redishealth

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"
)

// ErrAway says that work was not done because Redis is away, or that it failed for a reason that counts toward that.
var ErrAway = errors.New("redis is away")

// Health knows whether one Redis is away. It is safe for concurrent use.
type Health struct {
	// set by New, read-only
	rdb       redis.UniversalClient
	o         Options
	roundTrip prometheus.Histogram

	// Written under mu.
	away    atomic.Bool
	changes atomic.Int64 // how often away has changed: a round trip that spans a change does not count

	mu        sync.Mutex // protects the fields below
	failures  int        // round trips that failed in a row since the last change
	nextProbe time.Time  // while Redis is away, it is not probed before this
}

// New returns a Health of the Redis behind the client, which stays the caller's to close. It starts nothing and does not
// touch Redis. It fails on options out of range and on a Registerer that has the metrics already.
func New(rdb redis.UniversalClient, o Options) (*Health, error) {
	o = o.withDefaults()
	if err := o.validate(); err != nil {
		return nil, fmt.Errorf("redis health options: %w", err)
	}
	h := &Health{rdb: rdb, o: o, roundTrip: prometheus.NewHistogram(prometheus.HistogramOpts{
		Name:    "arrakis_limiter_round_trip_seconds",
		Help:    "Time of one round trip to Redis for a batch.",
		Buckets: prometheus.ExponentialBuckets(0.0001, 2, 15),
	})}
	if !obeysContext(rdb) {
		o.Logger.Warn("redis client ignores the limiter's timeout, set ContextTimeoutEnabled", "timeout", o.Timeout)
	}
	return h, h.register(o.Registerer)
}

// register registers the metrics, unless reg is nil.
func (h *Health) register(reg prometheus.Registerer) error {
	if reg == nil {
		return nil
	}
	return errors.Join(reg.Register(h.roundTrip), reg.Register(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "arrakis_limiter_degraded",
		Help: "1 while limits are decided without Redis, else 0.",
	}, func() float64 {
		if h.Away() {
			return 1
		}
		return 0
	})))
}

// obeysContext reports whether the client ends a round trip at its context's deadline.
func obeysContext(rdb redis.UniversalClient) bool {
	switch c := rdb.(type) {
	case *redis.Client:
		return c.Options().ContextTimeoutEnabled
	case *redis.ClusterClient:
		return c.Options().ContextTimeoutEnabled
	default:
		return true // unknown
	}
}

// Away reports whether nothing is to ask Redis.
func (h *Health) Away() bool { return h.away.Load() }

// Timeout returns the time that one round trip may take.
func (h *Health) Timeout() time.Duration { return h.o.Timeout }

// ProbeInterval returns the time between two probes while Redis is away.
func (h *Health) ProbeInterval() time.Duration { return h.o.ProbeInterval }

// Do runs work that makes one round trip to Redis under the time limit, and counts how it ended. While Redis is away it
// returns ErrAway and runs nothing. The error is else that of ctx where ctx ended, which counts neither way; that of work
// where it is a key's; and ErrAway with that of work where ServerFailed is true of it.
func (h *Health) Do(ctx context.Context, work func(context.Context) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if h.Away() {
		return ErrAway
	}
	changes := h.changes.Load()
	began := time.Now()
	bounded, cancel := context.WithTimeout(ctx, h.o.Timeout)
	err := work(bounded)
	cancel()
	h.roundTrip.Observe(time.Since(began).Seconds())
	failed := ServerFailed(err)
	if failed && ctx.Err() != nil {
		return ctx.Err()
	}
	h.count(changes, failed)
	if failed {
		return fmt.Errorf("%w: %w", ErrAway, err)
	}
	return err
}

// count counts a round trip that began when away had changed as often as given.
func (h *Health) count(changes int64, failed bool) {
	if h.countLocking(changes, failed) {
		h.o.Logger.Warn("redis is away, limits are decided without it")
	}
}

// countLocking is count, and reports whether Redis is away from now on.
func (h *Health) countLocking(changes int64, failed bool) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.away.Load() || changes != h.changes.Load() {
		return false
	}
	if !failed {
		h.failures = 0
		return false
	}
	if h.failures++; h.failures < h.o.Failures {
		return false
	}
	h.setLocked(true)
	return true
}

// setLocked changes away. The caller must hold h.mu.
func (h *Health) setLocked(away bool) {
	h.away.Store(away)
	h.changes.Add(1)
	h.failures = 0
	h.postponeProbeLocked()
}

// postponeProbeLocked keeps the next probe from following at once: it is due again by the next tick of its caller, which
// comes every ProbeInterval. The caller must hold h.mu.
func (h *Health) postponeProbeLocked() { h.nextProbe = time.Now().Add(h.o.ProbeInterval / 2) }

// Recover probes Redis and, if that takes writes, runs catchUp, which tells Redis what it has missed and then calls Back.
// The caller calls Recover every ProbeInterval while there is anything to catch up with; while Redis is away it does
// nothing where the last probe was just now. An error means that Redis did not take it all; Recover has counted and
// logged it.
func (h *Health) Recover(ctx context.Context, catchUp func(context.Context) error) error {
	changes := h.changes.Load()
	h.mu.Lock()
	early := h.away.Load() && time.Now().Before(h.nextProbe)
	h.mu.Unlock()
	if early {
		return nil
	}
	err := h.probe(ctx)
	if err == nil {
		err = catchUp(ctx)
	}
	if err != nil {
		h.o.Logger.DebugContext(ctx, "redis probed", "err", err)
		if ctx.Err() != nil {
			return err // the caller gave up: that counts neither way
		}
		h.mu.Lock()
		h.postponeProbeLocked()
		h.mu.Unlock()
	}
	h.count(changes, err != nil)
	return err
}

// probe asks whether Redis takes writes, without writing: ZADD XX adds no member. A cluster must have all its masters.
func (h *Health) probe(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, h.o.Timeout)
	defer cancel()
	if cluster, ok := h.rdb.(*redis.ClusterClient); ok {
		err := cluster.ForEachMaster(ctx, func(ctx context.Context, c *redis.Client) error { return c.Ping(ctx).Err() })
		if err != nil {
			return fmt.Errorf("ping masters: %w", err)
		}
	}
	if err := h.rdb.ZAddXX(ctx, h.o.ProbeKey, redis.Z{Member: "probe"}).Err(); ServerFailed(err) {
		return fmt.Errorf("probe: %w", err)
	}
	return nil
}

// Back makes everything ask Redis again, and reports whether Redis was away until now. It is for the end of catchUp, whose
// owner holds the lock under which it found nothing left to catch up with: so nothing is decided without Redis after
// Redis has been told of everything.
func (h *Health) Back() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	was := h.away.Load()
	if was {
		h.setLocked(false)
	}
	return was
}
