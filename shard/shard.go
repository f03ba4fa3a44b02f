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

// item is what a mailbox holds: a message, or an event if that is not nil.
type item[M Message] struct {
	message M
	event   *tenant.Event
}

// shard is the actor. Everything but the mailbox is used by run alone.
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
	stale []*entry           // to be read for this batch
	keys  []string           // of stale
	asks  []*limiter.Request // what one round trip asks the limiter
}

// entry is one cached tenant with the local windows of its limits. The windows
// go when the entry is evicted, which costs one question to Redis for each.
type entry struct {
	key     string         // Admission.TenantKey
	tenant  *tenant.Tenant // nil until it is read for the first time
	expires time.Time      // when it is read again; it is served longer while Redis is away
	stale   bool           // it is among those that are read for this batch
	windows [tenant.NumActions]*limiter.Window
}

type userKey struct{ community, user string }

func newShard[M Message](o Options, size int, tenants *tenantReader, m *metrics) *shard[M] {
	cache, _ := simplelru.NewLRU[string, *entry](size, nil)           // an error only for a size below 1
	users, _ := simplelru.NewLRU[userKey, *limiter.Window](size, nil) // as above
	return &shard[M]{
		mailbox: NewMailbox[item[M]](o.Mailbox), tenants: tenants, limits: o.Limits, ttl: o.CacheTTL,
		metrics: m, cache: cache, users: users,
	}
}

// run is the shard, and hands each batch to out. Events come first in each
// batch: they were sent before the messages' verdicts, and a change counts for
// the very next message.
func (s *shard[M]) run(ctx context.Context, out func(context.Context, []M) error) error {
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
		if err := s.decide(ctx); err != nil {
			return err
		}
		if err := out(ctx, s.batch); err != nil {
			return err
		}
		clear(s.batch) // messages are not to live on in what is kept for the next batch
	}
}

// resolve finds the tenant of every message, and reads with one MGET those
// that are missing or too old.
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

// lookup returns the entry of a tenant key, a new one if there is none.
func (s *shard[M]) lookup(key string) *entry {
	if e, ok := s.cache.Get(key); ok {
		return e
	}
	// The entry outlives the message, of whose text key is a part.
	e := &entry{key: strings.Clone(key)}
	if s.cache.Add(e.key, e) {
		s.metrics.evictions.Inc()
	}
	return e
}

// read reads the stale entries. Those that cannot be read stay stale, with
// the tenant they have, or as a free one.
func (s *shard[M]) read(ctx context.Context, now time.Time) {
	if len(s.stale) == 0 {
		return
	}
	tenants, ok := s.tenants.load(ctx, s.keys)
	for i, e := range s.stale {
		e.stale = false
		switch {
		case ok:
			if e.tenant != nil && e.tenant.ID != tenants[i].ID {
				clear(e.windows[:]) // they are another community's
			}
			e.tenant = tenants[i]
			// Up to a tenth early, so that what was read together is not always read together.
			e.expires = now.Add(s.ttl - rand.N(s.ttl/10+1)) //nolint:gosec // jitter
		case e.tenant == nil:
			e.tenant = s.tenants.unread(e.key)
		}
	}
	clear(s.stale)
	clear(s.keys)
	s.stale, s.keys = s.stale[:0], s.keys[:0]
}

// window returns the entry's window for a.
func (e *entry) window(a tenant.Action) *limiter.Window {
	if e.windows[a] == nil {
		e.windows[a] = limiter.NewWindow(Key(e.tenant.ID, a))
	}
	return e.windows[a]
}

// Key is the limiter's key for an action of a community.
func Key(community string, a tenant.Action) string { return community + ":" + a.String() }

// UserKey is the limiter's key for the commands of one user in a community. No
// ID holds a slash, so it is no other community's key.
func UserKey(community, user string) string {
	return Key(community, tenant.UserCommand) + "/" + user
}
