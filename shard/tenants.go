package shard

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"

	"arrakis/limiter/redishealth"
	"arrakis/tenant"
	"arrakis/tenant/store"
)

// tenantReader is where the shards read tenants. It is safe for concurrent use.
type tenantReader struct {
	store  *store.Store
	health *redishealth.Health
	log    *slog.Logger
	// retryAt is 0 unless the last read failed. It is then the time, in Unix
	// ns, from which one shard reads again; the others serve what they have.
	retryAt atomic.Int64
}

// retryInterval is how long after a failed read tenants are not read again.
// Health stops reads only while no round trip at all succeeds. Where tenants
// alone cannot be read, as with one node of a cluster that hangs, every batch
// of every shard would wait for it.
const retryInterval = time.Second

// load reads tenants, or returns false while they cannot be read.
func (r *tenantReader) load(ctx context.Context, ids []string) ([]*tenant.Tenant, bool) {
	later := func() int64 { return time.Now().Add(retryInterval).UnixNano() }
	at := r.retryAt.Load()
	if r.health.Away() || time.Now().UnixNano() < at {
		return nil, false
	}
	if at != 0 && !r.retryAt.CompareAndSwap(at, later()) {
		return nil, false // another shard reads
	}
	var tenants []*tenant.Tenant
	err := r.health.Do(ctx, func(ctx context.Context) (err error) {
		tenants, err = r.store.Load(ctx, ids)
		return err
	})
	if err != nil {
		if r.retryAt.Swap(later()) == 0 {
			r.log.WarnContext(ctx, "tenants cannot be read: cached ones are served however old, unknown ones as free tier", "err", err)
		}
		return nil, false
	}
	if r.retryAt.Swap(0) != 0 {
		r.log.InfoContext(ctx, "tenants can be read again")
	}
	return tenants, true
}

// unread is the tenant that stands for one that cannot be read: a free one.
func (r *tenantReader) unread(id string) *tenant.Tenant {
	return tenant.Resolve(id, nil, r.store.Tiers())
}
