package shard

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"

	"arrakis/limiter"
	"arrakis/tenant"
	"arrakis/tenant/store"
)

// tenantReader is where the shards read tenants. It is safe for concurrent use.
type tenantReader struct {
	store  *store.Store
	limits *limiter.Limiter
	log    *slog.Logger
	// pausedUntil, in Unix ns, keeps shards from asking a Redis that has just
	// failed: one of them tries again, the others serve what they have.
	pausedUntil atomic.Int64
	failing     atomic.Bool
}

// pause is how long after a failed read tenants are not read again.
const pause = time.Second

// load reads tenants, or returns false while Redis is away.
func (r *tenantReader) load(ctx context.Context, ids []string) ([]*tenant.Tenant, bool) {
	now := time.Now().UnixNano()
	until := r.pausedUntil.Load()
	if r.limits.Degraded() || now < until {
		return nil, false
	}
	if until != 0 && !r.pausedUntil.CompareAndSwap(until, now+int64(pause)) {
		return nil, false // another shard tries
	}
	var tenants []*tenant.Tenant
	err := r.limits.Guard(ctx, func(ctx context.Context) (err error) {
		tenants, err = r.store.Load(ctx, ids)
		return err
	})
	if err != nil {
		r.pausedUntil.Store(time.Now().Add(pause).UnixNano())
		if r.failing.CompareAndSwap(false, true) {
			r.log.WarnContext(ctx, "tenants cannot be read: cached ones are served however old, unknown ones as free tier", "err", err)
		}
		return nil, false
	}
	r.pausedUntil.Store(0)
	if r.failing.CompareAndSwap(true, false) {
		r.log.InfoContext(ctx, "tenants can be read again")
	}
	return tenants, true
}

// unread is who a community is taken for that cannot be read.
func (r *tenantReader) unread(id string) *tenant.Tenant {
	return tenant.Resolve(id, nil, r.store.Tiers())
}
