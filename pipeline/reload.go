package pipeline

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"arrakis/limiter/redishealth"
	"arrakis/shard"
	"arrakis/tenant"
	"arrakis/tenant/store"
)

// liveConfig holds the tiers and feature flags that are in force for all tenants, and puts changes of configuration in
// force. It is safe for concurrent use.
type liveConfig struct {
	store  *store.Store
	health *redishealth.Health // of the Redis behind store
	shards *shard.Pool[*delivery]
	log    *slog.Logger

	flags    atomic.Pointer[tenant.Flags] // written by refresh
	reading  sync.Mutex                   // held by refresh: an older reading must not replace a newer one
	outdated atomic.Bool                  // the last reading failed
}

// apply puts a change in force; see [Pipeline.Reload].
func (c *liveConfig) apply(ctx context.Context, e tenant.Event) error {
	if e.Type == tenant.GlobalChanged || e.Type == tenant.FlagChanged {
		c.refresh(ctx)
	}
	return c.shards.Notify(ctx, e)
}

// refresh reads tiers and flags. On an error, the tiers and flags in force stay, and keepFresh tries again.
func (c *liveConfig) refresh(ctx context.Context) {
	c.reading.Lock()
	defer c.reading.Unlock()
	var flags *tenant.Flags
	err := c.health.Do(ctx, func(ctx context.Context) (err error) {
		if flags, err = c.store.Flags(ctx); err != nil {
			return err
		}
		return c.store.RefreshTiers(ctx)
	})
	if flags != nil {
		c.flags.Store(flags)
	}
	if failed := err != nil; c.outdated.Swap(failed) != failed && ctx.Err() == nil {
		if failed {
			c.log.ErrorContext(ctx, "tiers and feature flags in force stay until they can be read", "err", err)
		} else {
			c.log.InfoContext(ctx, "tiers and feature flags can be read again")
		}
	}
}

// keepFresh repeats a failed refresh each second, until ctx ends.
func (c *liveConfig) keepFresh(ctx context.Context) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			if c.outdated.Load() {
				c.refresh(ctx)
			}
		}
	}
}

// features returns the names of a tenant's features and of the flags that are on for the tenant, sorted.
func (c *liveConfig) features(t *tenant.Tenant) []string {
	all := append(t.Features.Names(), c.flags.Load().Enabled(t)...)
	slices.Sort(all)
	return slices.Compact(all)
}
