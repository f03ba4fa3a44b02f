package pipeline

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"arrakis/limiter/redishealth"
	"arrakis/tenant"
	"arrakis/tenant/store"
)

const (
	// weighInterval is the time between two looks for changed tenants.
	weighInterval = 250 * time.Millisecond
	// weighTime is for how long after a change the weight is read again at each look. Messages that a shard decided
	// before it knew of the change bring the former weight, for 750 ms after a change of all tenants.
	weighTime = 800 * time.Millisecond
	// weighedAtOnce is how many tenants are read in one round trip.
	weighedAtOnce = 500
	// maxChanged bounds the tenants that are remembered as changed. If there are more, all count as changed.
	maxChanged = 1_000
)

// weights puts changed weights in force for communities whose messages wait in the fair queue. Such a message keeps the
// tenant by which it was admitted, and the next one, which would bring the new weight, may be long in coming. While
// Redis is away, the former weight stays until then. weights is safe for concurrent use.
type weights struct {
	// Set by New, read-only.
	store  *store.Store
	health *redishealth.Health // of the Redis behind store
	queue  *fairQueue

	mu      sync.Mutex           // protects changed
	changed map[string]time.Time // when, by tenant key or account; allTenants is a key too
}

// allTenants stands for every tenant key. It is none itself.
const allTenants = ""

// changedAccount stands for the tenant keys in an account. It is none itself.
func changedAccount(id string) string { return tenant.AccountLimitID(id) }

func newWeights(tenants *store.Store, health *redishealth.Health, queue *fairQueue) *weights {
	return &weights{store: tenants, health: health, queue: queue, changed: make(map[string]time.Time)}
}

// note notes a change of a tenant, or of all, that the shards know of.
func (w *weights) note(e tenant.Event, now time.Time) {
	var key string
	switch e.Type {
	case tenant.TenantChanged:
		key = e.TargetID
	case tenant.AccountChanged:
		key = changedAccount(e.TargetID)
	case tenant.GlobalChanged:
		key = allTenants
	case tenant.FlagChanged, tenant.LimitReset: // no weight changes
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.changed) >= maxChanged {
		clear(w.changed)
		key = allTenants
	}
	w.changed[key] = now
}

// run puts changed weights in force until ctx ends.
func (w *weights) run(ctx context.Context) {
	tick := time.NewTicker(weighInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			w.apply(ctx, now)
		}
	}
}

// apply reads the tenants that have changed, of communities whose messages wait, and gives these their weights.
func (w *weights) apply(ctx context.Context, now time.Time) {
	changed := w.take(now)
	if len(changed) == 0 {
		return
	}
	_, all := changed[allTenants]
	keys := w.queue.waitingKeys(func(d *delivery) bool {
		_, own := changed[d.TenantKey]
		ofAccount := false
		if d.Tenant.Account != nil {
			_, ofAccount = changed[changedAccount(d.Tenant.Account.ID)]
		}
		return own || ofAccount || all
	})
	for batch := range slices.Chunk(keys, weighedAtOnce) {
		var tenants []*tenant.Tenant
		_ = w.health.Do(ctx, func(ctx context.Context) error { // who cannot be read keeps the former weight
			var errs []error
			tenants, errs = w.store.LoadEach(ctx, batch, nil)
			return cmp.Or(errs...)
		})
		w.queue.weigh(batch, tenants)
	}
}

// take returns what has changed, and forgets what need not be read again.
func (w *weights) take(now time.Time) map[string]time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	changed := maps.Clone(w.changed)
	maps.DeleteFunc(w.changed, func(_ string, at time.Time) bool { return now.Sub(at) >= weighTime })
	return changed
}

// waitingKeys returns the tenant keys by which communities whose messages wait have their weights, if they concern the
// caller. Several keys can belong to one community: its weight is by the key of the message that came last.
func (q *fairQueue) waitingKeys(concerns func(*delivery) bool) (keys []string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.waiting == 0 {
		return nil
	}
	for _, b := range q.communities {
		if b.last != nil && concerns(b.last) {
			keys = append(keys, b.last.TenantKey)
		}
	}
	return keys
}

// weigh gives communities whose messages wait the weights of their tenants, which were read by the keys. A tenant that
// could not be read is nil. A key may belong to another community now: its messages here are still those of the former.
func (q *fairQueue) weigh(keys []string, tenants []*tenant.Tenant) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for i, t := range tenants {
		if t == nil {
			continue
		}
		if b := q.communities[t.ID]; b != nil && b.last != nil && b.last.TenantKey == keys[i] {
			q.weighLocked(b, t.Weight)
		}
	}
	q.wakeLocked() // one that was at its cap may start
}

// weighLocked gives b its weight. The caller must hold q.mu.
func (q *fairQueue) weighLocked(b *backlog, weight int) {
	if b.weight == weight {
		return
	}
	b.weight = weight
	if b.in == &q.capped { // its cap has changed too
		b.need = b.threshold(q.perTenant, q.workers)
		q.capped.moved(b)
	}
}
