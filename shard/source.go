package shard

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"

	"arrakis/limiter"
	"arrakis/tenant"
)

// source is where the shards read tenants. It is safe for concurrent use.
type source struct {
	store  *tenant.Store
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
func (s *source) load(ctx context.Context, ids []string) ([]*tenant.Tenant, bool) {
	now := time.Now().UnixNano()
	until := s.pausedUntil.Load()
	if s.limits.Degraded() || now < until {
		return nil, false
	}
	if until != 0 && !s.pausedUntil.CompareAndSwap(until, now+int64(pause)) {
		return nil, false // another shard tries
	}
	var tenants []*tenant.Tenant
	err := s.limits.Guard(ctx, func(ctx context.Context) (err error) {
		tenants, err = s.store.Load(ctx, ids)
		return err
	})
	if err != nil {
		s.pausedUntil.Store(time.Now().Add(pause).UnixNano())
		if s.failing.CompareAndSwap(false, true) {
			s.log.WarnContext(ctx, "tenants cannot be read: cached ones are served however old, unknown ones as free tier", "err", err)
		}
		return nil, false
	}
	s.pausedUntil.Store(0)
	if s.failing.CompareAndSwap(true, false) {
		s.log.InfoContext(ctx, "tenants can be read again")
	}
	return tenants, true
}

// unread is who a community is taken for that cannot be read.
func (s *source) unread(id string) *tenant.Tenant {
	return tenant.Resolve(id, nil, s.store.Tiers())
}
