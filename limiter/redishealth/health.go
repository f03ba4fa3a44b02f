package redishealth

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"
)

// ErrAway means that work was not done because Redis is away, or that it failed because of the server or the network.
var ErrAway = errors.New("redis is away")

// Attempts is how often a caller asks Redis before it goes on without an answer, unless the node counts as away sooner.
// So one failed round trip costs nothing. What callers ask can be asked again: a permit is known by its event ID.
const Attempts = 3

// Health knows which nodes of one Redis are away. It is safe for concurrent use.
type Health struct {
	// set by New, read-only
	rdb       redis.UniversalClient
	cluster   *redis.ClusterClient    // rdb, if it is a Cluster's client; else nil
	owner     func(key string) string // the name of the node that owns the key
	o         Options
	roundTrip prometheus.Histogram

	// Written under mu.
	away     atomic.Pointer[awayNodes] // nil while no node is away
	changes  atomic.Int64              // how often away has changed; a round trip during which it changes is not counted
	troubled atomic.Int64              // len(nodes)

	mu    sync.Mutex       // protects nodes
	nodes map[string]*node // nodes that failed last time, by name
}

// New returns a Health of the Redis behind the client, which the caller closes. It starts nothing and does not ask
// Redis. It fails on options out of range and on a Registerer that has the metrics already.
func New(rdb redis.UniversalClient, o Options) (*Health, error) {
	o = o.withDefaults()
	if err := o.validate(); err != nil {
		return nil, fmt.Errorf("redis health options: %w", err)
	}
	h := &Health{rdb: rdb, owner: allOwned, o: o, nodes: make(map[string]*node), roundTrip: newRoundTrip()}
	if cluster, ok := rdb.(*redis.ClusterClient); ok {
		h.cluster, h.owner = cluster, ownerIn(cluster)
	}
	if !obeysContext(rdb) {
		o.Logger.Warn("redis client ignores the limiter's timeout, set ContextTimeoutEnabled", "timeout", o.Timeout)
	}
	return h, h.register(o.Registerer)
}

// Timeout returns the time that one round trip may take.
func (h *Health) Timeout() time.Duration { return h.o.Timeout }

// ProbeInterval returns the time between two probes of a node that is away.
func (h *Health) ProbeInterval() time.Duration { return h.o.ProbeInterval }

// DoKey makes one round trip for one key: it runs work under the time limit, and counts its success or failure for the
// node that owns the key. The key is the whole key in Redis. Errors:
//   - ErrAway while that node is away; work does not run.
//   - ctx's, if ctx ended; the round trip is not counted.
//   - ErrAway joined with the error of work, if ServerFailed is true for the error of work.
//   - The error of work otherwise; the round trip counts as a success.
func (h *Health) DoKey(ctx context.Context, key string, work func(context.Context) error) error {
	if h.KeyAway(key) {
		return cmp.Or(ctx.Err(), ErrAway)
	}
	return h.do(ctx, work, func(t *Trip, err error) { t.Note(key, err) })
}

// Do is DoKey for work on any keys. On a Cluster it does not say which node failed, so it is not counted there, and
// work runs though some nodes are away.
func (h *Health) Do(ctx context.Context, work func(context.Context) error) error {
	if away := h.away.Load(); away != nil && (*away)[EveryKey] {
		return cmp.Or(ctx.Err(), ErrAway)
	}
	return h.do(ctx, work, func(t *Trip, err error) {
		if h.cluster == nil {
			t.Note("", err)
		} else {
			t.see(err)
		}
	})
}

func (h *Health) do(ctx context.Context, work func(context.Context) error, note func(*Trip, error)) error {
	var err error
	ended := h.Trip(ctx, func(ctx context.Context, t *Trip) {
		err = work(ctx)
		note(t, err)
	})
	switch {
	case ended != nil:
		return ended
	case ServerFailed(err):
		return fmt.Errorf("%w: %w", ErrAway, err)
	}
	return err
}

// Trip is one round trip for several keys, which may be on several nodes. Only work uses it; see [Health.Trip].
type Trip struct {
	h       *Health
	changes int64 // of h when the round trip began
	results []result
	lacks   bool // an answer of Redis
}

// result is what one node has to say.
type result struct {
	node   string
	failed bool // for one of its keys
}

// Trip runs work under the time limit. Work makes one round trip and calls Note for each of its keys; it must leave out
// the keys for which KeyAway is true. Trip then counts success or failure for each node, once. An error is ctx's, if
// ctx has ended and a key has no answer; then nothing is counted.
func (h *Health) Trip(ctx context.Context, work func(context.Context, *Trip)) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	t := &Trip{h: h, changes: h.changes.Load()}
	began := time.Now()
	bounded, cancel := context.WithTimeout(ctx, h.o.Timeout)
	work(bounded, t)
	cancel()
	h.roundTrip.Observe(time.Since(began).Seconds())
	if t.lacks && ctx.Err() != nil {
		return ctx.Err()
	}
	h.count(t)
	return nil
}

// Note says how the command for a key ended: nil or its error. It returns ServerFailed(err).
func (t *Trip) Note(key string, err error) bool {
	failed, answered := t.see(err)
	switch {
	case !failed && !answered:
		return false // an error that is none of Redis says nothing about it
	case !failed && t.h.troubled.Load() == 0:
		return false // a success that ends no row of failures
	case redis.HasErrorPrefix(err, "CLUSTERDOWN Hash slot not served"):
		return true // a slot without an owner is the fault of no node
	}
	name := t.h.owner(key)
	for i := range t.results {
		if t.results[i].node == name {
			t.results[i].failed = t.results[i].failed || failed
			return failed
		}
	}
	t.results = append(t.results, result{name, failed})
	return failed
}

// see reports whether the error means that the server failed, and whether it answered.
func (t *Trip) see(err error) (failed, answered bool) {
	failed = ServerFailed(err)
	answered = !failed && (err == nil || errors.As(err, new(redis.Error)))
	t.lacks = t.lacks || !answered
	return failed, answered
}

// count counts a round trip.
func (h *Health) count(t *Trip) {
	if len(t.results) == 0 {
		return
	}
	for _, name := range h.countLocking(t) {
		h.o.Logger.Warn("redis is away, limits are decided without it", "node", name)
	}
}

// countLocking counts a round trip as count does. It returns the nodes that count as away because of it.
func (h *Health) countLocking(t *Trip) (gone []string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if t.changes != h.changes.Load() {
		return nil
	}
	for _, r := range t.results {
		n := h.nodes[r.node]
		switch {
		case n != nil && n.away: // only a probe brings it back
		case r.failed:
			if n == nil {
				n = new(node)
				h.nodes[r.node] = n
				h.troubled.Store(int64(len(h.nodes)))
			}
			if n.failures++; n.failures >= h.o.Failures {
				h.setAwayLocked(n)
				gone = append(gone, r.node)
			}
		case n != nil:
			h.forgetLocked(r.node)
		}
	}
	return gone
}
