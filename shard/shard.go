package shard

import (
	"context"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"

	"arrakis/limiter"
	"arrakis/tenant"
)

// item is one item in a mailbox. It is an event if event is not nil, otherwise a message.
type item[M Message] struct {
	message M
	event   *tenant.Event
}

// shard is the actor. Only run uses its fields, except the mailbox.
type shard[M Message] struct {
	// Set by newShard, read-only.
	mailbox *Mailbox[item[M]] // written by Sorters and Notify, read by run, closed by Pool.Close
	tenants *tenantReader
	limits  *limiter.Limiter
	ttl     time.Duration
	metrics *metrics

	// Owned by run.
	cache *simplelru.LRU[string, *entry] // by Admission.TenantKey
	users *simplelru.LRU[userKey, *limiter.Window]
	batch []M
	stale []*entry           // entries to be read for this batch
	keys  []string           // tenant keys of stale
	asks  []*limiter.Request // requests of one round trip to the limiter
}

// entry is one cached tenant with the local windows of its limits. An eviction loses the windows too. That costs one
// question to Redis for each window.
type entry struct {
	key     string         // Admission.TenantKey
	tenant  *tenant.Tenant // nil until it is read for the first time
	expires time.Time      // when the tenant is read again, also because its tier ends; while Redis is away it is used longer
	since   int64          // the latest write of the config that is known of, in unix ms of Redis's clock
	stale   bool           // the tenant is being read for this batch
	windows [tenant.NumActions]*limiter.Window
}

type userKey struct{ community, user string }

func newShard[M Message](o Options, size int, tenants *tenantReader, m *metrics) *shard[M] {
	cache, _ := simplelru.NewLRU[string, *entry](size, nil)           // an error only for a size below 1
	users, _ := simplelru.NewLRU[userKey, *limiter.Window](size, nil) // an error only for a size below 1
	return &shard[M]{
		mailbox: NewMailbox[item[M]](o.Mailbox), tenants: tenants, limits: o.Limits, ttl: o.CacheTTL,
		metrics: m, cache: cache, users: users,
	}
}

// run is the goroutine of the shard. It decides each batch and passes it to out. The events of a batch are applied
// before its messages are decided, so a change is in force for every message that is put into the mailbox after it.
func (s *shard[M]) run(ctx context.Context, resolved func([]M), out func(context.Context, []M) error) error {
	var items []item[M]
	for {
		var ok bool
		if items, ok = s.mailbox.Take(items); !ok {
			return nil
		}
		s.batch = s.batch[:0]
		for _, it := range items {
			if it.event != nil {
				s.apply(it.event)
			} else {
				s.batch = append(s.batch, it.message)
			}
		}
		if len(s.batch) == 0 {
			continue
		}
		s.resolve(ctx)
		resolved(s.batch)
		if err := s.decide(ctx); err != nil {
			return err
		}
		if err := out(ctx, s.batch); err != nil {
			return err
		}
		clear(s.batch) // the slice is kept for the next batch, but must not keep messages in memory
		s.batch = s.batch[:0]
	}
}

// abandoned passes the messages that an ended run has left to yield. It reports whether yield wants more.
func (s *shard[M]) abandoned(yield func(M) bool) bool {
	for _, m := range s.batch {
		if !yield(m) {
			return false
		}
	}
	for {
		items, ok := s.mailbox.Take(nil)
		if !ok {
			return true
		}
		for _, it := range items {
			if it.event == nil && !yield(it.message) {
				return false
			}
		}
	}
}

// resolve finds the tenant of every message. It reads tenants that are missing or too old with one MGET.
func (s *shard[M]) resolve(ctx context.Context) {
	now := time.Now()
	for _, m := range s.batch {
		a := m.Admission()
		a.entry = s.lookup(a.TenantKey)
		if e := a.entry; !e.stale && !now.Before(e.expires) {
			e.stale = true
			s.stale = append(s.stale, e)
			s.keys = append(s.keys, e.key)
		}
	}
	s.metrics.hits.Add(float64(len(s.batch) - len(s.stale)))
	s.metrics.misses.Add(float64(len(s.stale)))
	s.read(ctx, now)
	for _, m := range s.batch {
		a := m.Admission()
		a.Tenant = a.entry.tenant
	}
}

// lookup returns the entry of a tenant key. If there is none, it makes one.
func (s *shard[M]) lookup(key string) *entry {
	if e, ok := s.cache.Get(key); ok {
		return e
	}
	// key is a part of the message's text, and the entry outlives the message.
	e := &entry{key: strings.Clone(key)}
	if s.cache.Add(e.key, e) {
		s.metrics.evictions.Inc()
	}
	return e
}

// read reads the tenants of the stale entries. An entry that cannot be read keeps its tenant, or gets a free tenant if
// it has none. It is read again for the next batch.
func (s *shard[M]) read(ctx context.Context, now time.Time) {
	if len(s.stale) == 0 {
		return
	}
	tenants := s.tenants.load(ctx, s.keys)
	for i, e := range s.stale {
		e.stale = false
		switch t := tenants[i]; {
		case t != nil:
			if e.tenant != nil && (e.tenant.ID != t.ID || limitKey(e.tenant, tenant.Command) != limitKey(t, tenant.Command)) {
				clear(e.windows[:]) // the windows are another community's, or another account's
			}
			e.tenant, e.since = t, max(e.since, t.UpdatedMS)
			// Up to a tenth early, so that tenants that were read together are not read together again.
			e.expires = now.Add(s.ttl - rand.N(s.ttl/10+1)) //nolint:gosec // jitter
			if ends := time.UnixMilli(t.TierEndsMS); t.TierEndsMS > 0 && ends.Before(e.expires) {
				e.expires = ends
			}
		case e.tenant == nil:
			e.tenant = s.tenants.free(e.key)
		}
	}
	clear(s.stale)
	clear(s.keys)
	s.stale, s.keys = s.stale[:0], s.keys[:0]
}

// window returns the entry's window for a.
func (e *entry) window(a tenant.Action) *limiter.Window {
	if e.windows[a] == nil {
		e.windows[a] = limiter.NewWindow(limitKey(e.tenant, a))
	}
	return e.windows[a]
}

// Key is the limiter's key for an action that is counted under a [tenant.Tenant.LimitID].
func Key(limitID string, a tenant.Action) string { return limitID + ":" + a.String() }

// limitKey is the limiter's key for an action of a tenant.
func limitKey(t *tenant.Tenant, a tenant.Action) string { return Key(t.LimitID(a), a) }

// UserKey is the limiter's key for the commands of one user in a community. No community ID holds a slash, so a UserKey
// is never another community's Key.
func UserKey(community, user string) string {
	return Key(community, tenant.UserCommand) + "/" + user
}
