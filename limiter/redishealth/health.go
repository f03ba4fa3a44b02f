// Package redishealth says whether Redis is away, for all code in a process that uses the same Redis. Only this package
// decides that.
//
// Redis counts as away after Options.Failures round trips in a row have failed because of the server or the network,
// and not because of a key ([ServerFailed]). From then on only probes ([Health.Recover]) ask Redis, so that nothing
// waits for a time-out. Redis counts as back when a probe finds that it takes writes, and the admissions of the outage
// are merged.
package redishealth

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"
)

// ErrAway means that work was not done because Redis is away, or that it failed because of the server or the network.
var ErrAway = errors.New("redis is away")

// Health knows whether one Redis is away. It is safe for concurrent use.
type Health struct {
	// set by New, read-only
	rdb       redis.UniversalClient
	o         Options
	roundTrip prometheus.Histogram

	// Written under mu.
	away    atomic.Bool
	changes atomic.Int64 // how often away has changed; a round trip during which it changes is not counted

	mu        sync.Mutex // protects the fields below
	failures  int        // round trips that failed in a row since the last change
	nextProbe time.Time  // while Redis is away, the earliest time of the next probe
}

// New returns a Health of the Redis behind the client, which the caller closes. It starts nothing and does not ask
// Redis. It fails on options out of range and on a Registerer that has the metrics already.
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

// Away reports whether Redis is away, so that nothing may ask it.
func (h *Health) Away() bool { return h.away.Load() }

// Timeout returns the time that one round trip may take.
func (h *Health) Timeout() time.Duration { return h.o.Timeout }

// ProbeInterval returns the time between two probes while Redis is away.
func (h *Health) ProbeInterval() time.Duration { return h.o.ProbeInterval }

// Do runs work, which makes one round trip to Redis, under the time limit, and counts its success or failure. Errors:
//   - ErrAway while Redis is away; work does not run.
//   - ctx's, if ctx ended; the round trip is not counted.
//   - ErrAway joined with the error of work, if ServerFailed is true for the error of work.
//   - The error of work otherwise, which concerns a key; the round trip counts as a success.
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

// count counts a round trip. changes is the number of changes of away when the round trip began.
func (h *Health) count(changes int64, failed bool) {
	if h.countLocking(changes, failed) {
		h.o.Logger.Warn("redis is away, limits are decided without it")
	}
}

// countLocking counts a round trip as count does. It reports whether Redis counts as away because of this round trip.
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

// postponeProbeLocked delays the next probe by half of ProbeInterval, so that it does not follow at once but is due at
// the next tick of Recover's caller. The caller must hold h.mu.
func (h *Health) postponeProbeLocked() { h.nextProbe = time.Now().Add(h.o.ProbeInterval / 2) }

// Recover probes Redis. If Redis takes writes, Recover runs catchUp, which writes to Redis what was decided without it
// and then calls Back. The caller calls Recover every ProbeInterval while Redis is away or there is something to write.
// While Redis is away, Recover does nothing if the last probe was just now. An error means that Redis did not take all
// writes; Recover has counted and logged the error.
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
			return err // the caller gave up, so nothing is counted
		}
		h.mu.Lock()
		h.postponeProbeLocked()
		h.mu.Unlock()
	}
	h.count(changes, err != nil)
	return err
}

// probe tests whether Redis takes writes. It changes nothing: ZADD XX adds no member. All masters of a cluster must
// answer.
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

// Back ends the time in which Redis is away, and reports whether Redis was away until now. catchUp calls Back at its
// end, while it holds the lock under which it found nothing left to write. So nothing is decided without Redis after
// the last write.
func (h *Health) Back() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	was := h.away.Load()
	if was {
		h.setLocked(false)
	}
	return was
}

// serverCodes are the error codes with which a Redis server says that it cannot serve any key now.
var serverCodes = []string{
	"LOADING", "READONLY", "CLUSTERDOWN", "MASTERDOWN", "TRYAGAIN", "MOVED", "ASK", "NOREPLICAS", "MISCONF", "OOM", "BUSY",
	"NOAUTH", "WRONGPASS", "NOPERM", "UNKILLABLE", "max number of clients reached",
}

// ServerFailed reports whether a command's error means that Redis as a whole cannot be used: an error of the network, a
// time-out, a closed client, an exhausted pool, or a server that cannot serve now. Any other error in a server's reply
// (a [redis.Error]) concerns only the command's key, for example because the key is of another type. ServerFailed is
// false for nil.
func ServerFailed(err error) bool {
	if err == nil {
		return false
	}
	var reply redis.Error
	if !errors.As(err, &reply) {
		return true
	}
	for _, code := range serverCodes {
		// Redis before 7 wraps the error of a script's command: "ERR Error running script ...: -READONLY ...".
		if redis.HasErrorPrefix(err, code) || strings.Contains(err.Error(), "-"+code+" ") {
			return true
		}
	}
	return false
}
