package shard

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
	"time"

	"arrakis/limiter/redishealth"
	"arrakis/tenant"
	"arrakis/tenant/store"
)

// unreadInterval is the time between two logs that tenants cannot be read.
const unreadInterval = time.Minute

// tenantReader reads tenants for the shards. It is safe for concurrent use.
type tenantReader struct {
	store  *store.Store
	health *redishealth.Health
	log    *slog.Logger
	logged atomic.Int64 // when the log last said that tenants cannot be read, in Unix ns
}

// load reads tenants. A tenant is nil if it cannot be read. No tenant is read whose node is away.
func (r *tenantReader) load(ctx context.Context, ids []string) []*tenant.Tenant {
	tenants := make([]*tenant.Tenant, len(ids))
	var err error
	for range redishealth.Attempts {
		var again bool
		if again, err = r.loadOnce(ctx, ids, tenants); !again {
			break
		}
	}
	if err != nil && ctx.Err() == nil {
		r.logUnread(ctx, err)
	}
	return tenants
}

// logUnread logs that tenants cannot be read, at most once in unreadInterval.
func (r *tenantReader) logUnread(ctx context.Context, err error) {
	now, last := time.Now().UnixNano(), r.logged.Load()
	if now-last >= int64(unreadInterval) && r.logged.CompareAndSwap(last, now) {
		r.log.WarnContext(ctx, "some tenants cannot be read: if cached, they are used however old, else they have the free tier", "err", err)
	}
}

// loadOnce makes one round trip for the tenants that are not read yet. It reports whether another may read more. An
// error says why a tenant is not read.
func (r *tenantReader) loadOnce(ctx context.Context, ids []string, tenants []*tenant.Tenant) (again bool, failed error) {
	var ask []string
	var places []int // index in ids of each that is asked for
	for i, id := range ids {
		switch {
		case tenants[i] != nil:
		case r.health.KeyAway(store.ConfigKey(id)):
			failed = redishealth.ErrAway
		default:
			ask, places = append(ask, id), append(places, i)
		}
	}
	if len(ask) == 0 {
		return false, failed
	}
	err := r.health.Trip(ctx, func(ctx context.Context, t *redishealth.Trip) {
		loaded, errs := r.store.LoadEach(ctx, ask, r.skip)
		for i, err := range errs {
			tenants[places[i]] = loaded[i]
			if noted(t, ask[i], err) {
				again = true
			}
			failed = cmp.Or(err, failed)
		}
	})
	if err != nil {
		return false, err
	}
	return again, failed
}

// skip keeps the accounts from being read whose node is away.
func (r *tenantReader) skip(key string) error {
	if r.health.KeyAway(key) {
		return redishealth.ErrAway
	}
	return nil
}

// noted notes how reading the tenant id went, for the nodes that were asked. It reports whether to ask again.
func noted(t *redishealth.Trip, id string, err error) (again bool) {
	account, ofAccount := errors.AsType[*store.AccountError](err)
	if !ofAccount {
		return t.Note(store.ConfigKey(id), err)
	}
	t.Note(store.ConfigKey(id), nil)
	return !errors.Is(account, redishealth.ErrAway) && t.Note(account.Key, account.Err)
}

// free is the free tenant that is used while a tenant cannot be read.
func (r *tenantReader) free(id string) *tenant.Tenant {
	return tenant.Resolve(id, tenant.Documents{Tiers: r.store.Tiers()}, time.Now())
}
