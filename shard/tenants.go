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

// tenantReader reads tenants for the shards. It is safe for concurrent use.
type tenantReader struct {
	store  *store.Store
	health *redishealth.Health
	log    *slog.Logger
	// retryAt is 0 unless the last read failed. After a failure it is the time, in Unix ns, from which one shard reads
	// again. All other shards use the tenants that they have.
	retryAt atomic.Int64
}

// retryInterval is the time after a failed read in which tenants are not read again. Health stops reads only while no
// round trip at all succeeds. Without retryInterval, if only tenants cannot be read, for example because one node of a
// cluster hangs, every batch of every shard would wait for a time-out.
const retryInterval = time.Second

// load reads tenants. It returns false while tenants cannot be read.
func (r *tenantReader) load(ctx context.Context, ids []string) ([]*tenant.Tenant, bool) {
	later := func() int64 { return time.Now().Add(retryInterval).UnixNano() }
	at := r.retryAt.Load()
	if r.health.Away() || time.Now().UnixNano() < at {
		return nil, false
	}
	if at != 0 && !r.retryAt.CompareAndSwap(at, later()) {
		return nil, false // another shard is reading
	}
	var tenants []*tenant.Tenant
	err := r.health.Do(ctx, func(ctx context.Context) (err error) {
		tenants, err = r.store.Load(ctx, ids)
		return err
	})
	if err != nil {
		if r.retryAt.Swap(later()) == 0 {
			r.log.WarnContext(ctx, "tenants cannot be read: cached tenants are used however old, all others have the free tier", "err", err)
		}
		return nil, false
	}
	if r.retryAt.Swap(0) != 0 {
		r.log.InfoContext(ctx, "tenants can be read again")
	}
	return tenants, true
}

// unread is the free tenant that is used while a tenant cannot be read.
func (r *tenantReader) unread(id string) *tenant.Tenant {
	return tenant.Resolve(id, nil, r.store.Tiers())
}
