package limiter

import (
	"hash/maphash"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"

	"arrakis/limiter/redishealth"
)

// sweepInterval is the least time between two searches of all queues for admissions that have left their window.
const sweepInterval = time.Second

// fallback holds the windows that the process enforces while Redis is away, and the admissions that Redis has not seen.
// These wait until they are merged into Redis. A process has one fallback, and not one for each shard, because the
// messages of one key may pass through several shards. Times are durations on the process's monotonic clock since the
// limiter was made.
//
// The order in which a key is decided: whoever decides in memory looks whether the node is away while it holds mu, and
// raises unmerged before that. Whoever asks Redis looks at away first, then at unmerged, and then takes mu to see what
// waits. So after a node is back, the question for a key comes after every decision in memory, and merges it first.
type fallback struct {
	// set by newFallback, read-only
	policy    Policy
	health    *redishealth.Health
	maxQueued int
	seed      maphash.Seed
	m         *metrics

	// ahead is by how many ms the clock of Redis, in unix ms, was ahead of this clock when Redis last answered.
	ahead atomic.Int64
	// unmerged is above 0 while an admission waits or may be made in memory. Read without mu, so that a question costs
	// no lock as long as nothing waits.
	unmerged atomic.Int64

	mu      sync.Mutex // protects the fields below
	windows *simplelru.LRU[string, *keyWindow]
	waiting map[string]*keyWindow // windows whose queue is not empty
	queued  int                   // admissions in all queues
	serial  uint64                // of the admission queued last
	swept   time.Duration         // when all queues were last trimmed
}

// keyWindow is one key's window in memory.
type keyWindow struct {
	log     permitLog
	limit   Limit    // the last limit used
	queue   []queued // admissions that Redis has not seen, oldest first
	merging int      // merges of this queue on their way to Redis
}

// queued is an admission that waits to be merged.
type queued struct {
	serial uint64 // grows from one to the next, over all keys
	id     string
	at     time.Duration
}

// newFallback returns an empty fallback. The options must be valid.
func newFallback(o Options, health *redishealth.Health, m *metrics) (*fallback, error) {
	f := &fallback{
		policy:    o.OnRedisDown,
		health:    health,
		maxQueued: o.MaxQueued,
		seed:      maphash.MakeSeed(),
		m:         m,
		waiting:   make(map[string]*keyWindow),
	}
	var err error
	f.windows, err = simplelru.NewLRU(o.MaxKeys, func(key string, w *keyWindow) {
		f.m.mergeDropped.Add(float64(len(w.queue)))
		f.shortenLocked(key, w, len(w.queue)) // mu is held: only methods that hold it evict
	})
	f.setClock(time.Now().UnixMilli(), 0) // the best guess until Redis has answered
	return f, err
}

// setClock notes that the clock of Redis showed unix ms at now.
func (f *fallback) setClock(unix int64, now time.Duration) { f.ahead.Store(unix - now.Milliseconds()) }

// boostLeft returns for how long the boost of the limit still lasts, as far as is known without Redis.
func (f *fallback) boostLeft(limit Limit, now time.Duration) time.Duration {
	return limit.boostLeft(f.ahead.Load() + now.Milliseconds())
}

// shortenLocked removes the oldest n admissions of the key's queue. The caller must hold f.mu.
func (f *fallback) shortenLocked(key string, w *keyWindow, n int) {
	if n == 0 {
		return
	}
	w.queue = w.queue[n:]
	f.queued -= n
	f.unmerged.Add(-int64(n))
	if len(w.queue) == 0 {
		w.queue = nil
		delete(f.waiting, key)
	}
}

// trimQueueLocked removes the admissions of the key's queue that have left the window. The caller must hold f.mu.
func (f *fallback) trimQueueLocked(key string, w *keyWindow, now time.Duration) {
	n := 0
	for n < len(w.queue) && w.queue[n].at <= now-w.limit.Window {
		n++
	}
	f.shortenLocked(key, w, n)
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

// decideAway decides, by the policy, on the open calls whose node is away.
func (f *fallback) decideAway(r *round, now time.Duration) {
	if f.health.Away() {
		f.decide(r, now, func(c *call) bool { return f.health.KeyAway(c.RedisKey) })
	}
}

// decideOpen decides, by the policy, on all open calls.
func (f *fallback) decideOpen(r *round, now time.Duration) {
	f.decide(r, now, func(*call) bool { return true })
}

// decide decides, by the policy, on the open calls that are chosen.
func (f *fallback) decide(r *round, now time.Duration, chosen func(*call) bool) {
	f.unmerged.Add(1) // before chosen looks whether the node is away
	defer f.unmerged.Add(-1)
	f.mu.Lock()
	defer f.mu.Unlock()
	r.keep(func(c *call) bool {
		if !chosen(c) {
			return false
		}
		f.decideLocked(c, now)
		return true
	})
}

// settle closes the calls that the server answered. It records what Redis admitted. Where the key cannot be used, it
// decides by the policy.
func (f *fallback) settle(r *round, now time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	r.keep(func(c *call) bool {
		switch {
		case c.unanswered():
			return false
		case c.unusable():
			f.decideLocked(c, now)
		default:
			f.recordLocked(c, now)
		}
		return true
	})
}

// recordLocked records the permits that Redis has given, also those that it found given: of these, the answer may have
// been lost. Such a permit counts from now, which is too late rather than too early. The caller must hold f.mu.
func (f *fallback) recordLocked(c *call, now time.Duration) {
	if f.policy != Local {
		return // only Local enforces windows in memory
	}
	var w *keyWindow
	for _, req := range c.reqs {
		if !req.Verdict.Allowed {
			continue
		}
		if w == nil {
			w = f.windowLocked(c.window.key, c.limit, now)
		}
		hash := maphash.String(f.seed, req.ID)
		if req.Verdict.Charged || !w.log.holds(hash) {
			w.log.add(hash, now, c.limit.Window)
		}
	}
}

// decideLocked sets the verdicts of one call without Redis. The caller must hold f.mu.
func (f *fallback) decideLocked(c *call, now time.Duration) {
	if f.policy == Closed {
		for _, req := range c.reqs {
			req.Verdict = f.closedVerdict(c.limit, now)
		}
		return
	}
	w := f.windowLocked(c.window.key, c.limit, now)
	f.trimQueueLocked(c.window.key, w, now)
	boostLeft := f.boostLeft(c.limit, now)
	permits := c.limit.inForce(boostLeft)
	for _, req := range c.reqs {
		v := Verdict{Limit: permits, Degraded: true}
		hash := maphash.String(f.seed, req.ID)
		switch {
		case w.log.holds(hash):
			v.Allowed = true
		case f.policy == Open && permits > 0 || w.log.count() < permits:
			v.Allowed, v.Charged = true, true
			w.log.add(hash, now, c.limit.Window)
			if !c.unusable() {
				f.enqueueLocked(c.window.key, w, strings.Clone(req.ID), now)
			}
		}
		s := w.log.standing(c.limit, boostLeft, now)
		v.Remaining, v.ResetAfter = max(0, permits-s.count), s.resetAfter
		if !v.Allowed {
			v.RetryAfter = s.retryAfter
		}
		req.Verdict = v
	}
}

// closedVerdict is the verdict on every message under Closed while Redis is away. A limit that admits nothing needs no
// Redis.
func (f *fallback) closedVerdict(limit Limit, now time.Duration) Verdict {
	permits := limit.inForce(f.boostLeft(limit, now))
	if permits == 0 {
		return noneVerdict(limit)
	}
	return Verdict{Limit: permits, RetryAfter: f.health.ProbeInterval(), Degraded: true, Unavailable: true}
}

// enqueueLocked queues an admission for the merge, if there is room. Of a key the newest admissions, as many as the
// limit has permits, are enough: until they leave the window, the key admits nothing. The caller must hold f.mu.
func (f *fallback) enqueueLocked(key string, w *keyWindow, id string, now time.Duration) {
	if int64(len(w.queue)) >= w.limit.highest() {
		f.shortenLocked(key, w, 1)
	}
	if f.queued >= f.maxQueued && f.swept < now-sweepInterval {
		f.swept = now
		for key, w := range f.waiting {
			f.trimQueueLocked(key, w, now)
		}
	}
	if f.queued >= f.maxQueued {
		f.m.mergeDropped.Inc()
		return
	}
	f.serial++
	w.queue = append(w.queue, queued{serial: f.serial, id: id, at: now})
	f.waiting[key] = w
	f.queued++
	f.unmerged.Add(1)
}

// standing returns the state of the key's window in memory.
func (f *fallback) standing(key string, limit Limit, now time.Duration) standing {
	f.mu.Lock()
	defer f.mu.Unlock()
	w, ok := f.windows.Peek(key)
	if !ok {
		w = new(keyWindow)
	}
	w.log.trim(now, limit.Window)
	return w.log.standing(limit, f.boostLeft(limit, now), now)
}

// forget drops the key's window, including admissions that wait to be merged.
func (f *fallback) forget(key string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.forgetLocked(key)
}

// forgetLocked is forget. The caller must hold f.mu.
func (f *fallback) forgetLocked(key string) {
	if w, ok := f.windows.Peek(key); ok {
		f.shortenLocked(key, w, len(w.queue)) // first, because they are not missed and must not be counted as dropped
		f.windows.Remove(key)
	}
}

// forgetPrefix is forget for all keys that begin with prefix.
func (f *fallback) forgetPrefix(prefix string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, key := range f.windows.Keys() {
		if strings.HasPrefix(key, prefix) {
			f.forgetLocked(key)
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
	copy(w.queue[1:], w.queue[:i]) // its place moves to the front, from where it is removed
	f.shortenLocked(key, w, 1)
	return w.merging == 0
}
