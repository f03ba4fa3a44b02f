package limiter

import (
	"hash/maphash"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"

	"arrakis/limiter/redishealth"
)

// fallback holds the windows that the process enforces while Redis is away, and the admissions that are still to be
// merged into Redis. A process has one fallback, and not one for each shard, because the messages of one key may pass
// through several shards. Times are durations on the process's monotonic clock since the limiter was made.
type fallback struct {
	// set by newFallback, read-only
	policy    Policy
	health    *redishealth.Health
	maxQueued int
	seed      maphash.Seed
	m         *metrics

	// mu protects the fields below. While mu is held, Redis cannot come back, because backIfMerged holds mu too.
	mu      sync.Mutex
	windows *simplelru.LRU[string, *keyWindow]
	queues  map[string]*keyWindow // windows with a queue
	queued  int                   // admissions in all queues
	merging int                   // admissions on their way to Redis, no longer in a queue
}

// keyWindow is one key's window in memory.
type keyWindow struct {
	log   permitLog
	limit Limit    // the last limit used
	queue []queued // admissions to be merged, oldest first
}

// queued is an admission that waits to be merged.
type queued struct {
	id string
	at time.Duration
}

// newFallback returns an empty fallback. The options must be valid.
func newFallback(o Options, health *redishealth.Health, m *metrics) (*fallback, error) {
	f := &fallback{
		policy:    o.OnRedisDown,
		health:    health,
		maxQueued: o.MaxQueued,
		seed:      maphash.MakeSeed(),
		m:         m,
		queues:    make(map[string]*keyWindow),
	}
	var err error
	f.windows, err = simplelru.NewLRU(o.MaxKeys, func(key string, w *keyWindow) {
		f.dropOldestLocked(key, len(w.queue), w) // mu is held: only methods that hold it evict
	})
	return f, err
}

// dropOldestLocked drops the oldest n admissions of the key's queue. They are never merged. The caller must hold f.mu.
func (f *fallback) dropOldestLocked(key string, n int, w *keyWindow) {
	if n == 0 {
		return
	}
	w.queue = w.queue[n:]
	f.queued -= n
	if len(w.queue) == 0 {
		delete(f.queues, key)
	}
	f.m.mergeDropped.Add(float64(n))
}

// windowLocked returns the key's window, trimmed to now. The caller must hold f.mu.
func (f *fallback) windowLocked(key string, limit Limit, now time.Duration) *keyWindow {
	w, ok := f.windows.Get(key)
	if !ok {
		w = new(keyWindow)
		f.windows.Add(key, w)
	}
	w.limit = limit
	w.log.trim(now, limit.Window)
	return w
}

// decideIfAway sets all verdicts by the policy and returns true while Redis is away. Otherwise it does nothing and
// returns false. decideIfAway and backIfMerged hold the same lock, so no message is admitted in memory after the last
// merge.
func (f *fallback) decideIfAway(calls []*call, now time.Duration) bool {
	if !f.health.Away() {
		return false
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.health.Away() {
		return false
	}
	for _, c := range calls {
		f.decideLocked(c, now)
	}
	return true
}

// recordOrDecide records the admissions of the calls that Redis answered, and decides all other calls by the policy.
func (f *fallback) recordOrDecide(calls []*call, now time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, c := range calls {
		if c.err == nil && !c.unseen {
			f.recordLocked(c, now)
		} else {
			f.decideLocked(c, now)
		}
	}
}

// recordLocked records the admissions that Redis made. The caller must hold f.mu.
func (f *fallback) recordLocked(c *call, now time.Duration) {
	if f.policy != Local {
		return // only Local enforces windows in memory
	}
	var w *keyWindow
	for _, req := range c.reqs {
		if !req.Verdict.Charged {
			continue
		}
		if w == nil {
			w = f.windowLocked(c.window.key, c.limit, now)
		}
		w.log.add(maphash.String(f.seed, req.ID), now, c.limit.Window)
	}
}

// decideLocked sets the verdicts of one call without Redis. The caller must hold f.mu.
func (f *fallback) decideLocked(c *call, now time.Duration) {
	if f.policy == Closed {
		for _, req := range c.reqs {
			req.Verdict = f.closedVerdict(c.limit)
		}
		return
	}
	w := f.windowLocked(c.window.key, c.limit, now)
	for _, req := range c.reqs {
		v := Verdict{Limit: c.limit.Max, Degraded: true}
		hash := maphash.String(f.seed, req.ID)
		switch {
		case w.log.holds(hash):
			v.Allowed = true
		case f.policy == Open || w.log.count() < c.limit.Max:
			v.Allowed, v.Charged = true, true
			w.log.add(hash, now, c.limit.Window)
			if c.unseen {
				f.enqueueLocked(c.window.key, w, queued{id: strings.Clone(req.ID), at: now})
			}
		}
		s := w.log.standing(c.limit, now)
		v.Remaining, v.ResetAfter = max(0, c.limit.Max-s.count), s.resetAfter
		if !v.Allowed {
			v.RetryAfter = s.retryAfter
		}
		req.Verdict = v
	}
}

// closedVerdict is the verdict on every message under Closed while Redis is away.
func (f *fallback) closedVerdict(limit Limit) Verdict {
	return Verdict{Limit: limit.Max, RetryAfter: f.health.ProbeInterval(), Degraded: true, Unavailable: true}
}

// enqueueLocked queues an admission for the merge, if there is room. The queue of a key keeps the newest Max
// admissions. The caller must hold f.mu.
func (f *fallback) enqueueLocked(key string, w *keyWindow, q queued) {
	if int64(len(w.queue)) >= w.limit.Max {
		f.dropOldestLocked(key, 1, w)
	}
	if f.queued >= f.maxQueued {
		f.m.mergeDropped.Inc()
		return
	}
	w.queue = append(w.queue, q)
	f.queues[key] = w
	f.queued++
}

// standing returns the state of the key's window in memory.
func (f *fallback) standing(key string, limit Limit, now time.Duration) standing {
	f.mu.Lock()
	defer f.mu.Unlock()
	w, ok := f.windows.Peek(key)
	if !ok {
		return standing{}
	}
	w.log.trim(now, limit.Window)
	return w.log.standing(limit, now)
}

// forget drops the key's window, including admissions that wait to be merged.
func (f *fallback) forget(key string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.windows.Remove(key)
}

// forgetPrefix is forget for all keys that begin with prefix.
func (f *fallback) forgetPrefix(prefix string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, key := range f.windows.Keys() {
		if strings.HasPrefix(key, prefix) {
			f.windows.Remove(key)
		}
	}
}

// release releases the ID's permit. It reports whether the permit still waited to be merged, so that Redis does not
// know it.
func (f *fallback) release(key, id string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	w, ok := f.windows.Peek(key)
	if !ok {
		return false
	}
	w.log.remove(maphash.String(f.seed, id))
	i := slices.IndexFunc(w.queue, func(q queued) bool { return q.id == id })
	if i < 0 {
		return false
	}
	w.queue = slices.Delete(w.queue, i, i+1)
	f.queued--
	if len(w.queue) == 0 {
		delete(f.queues, key)
	}
	return true
}
