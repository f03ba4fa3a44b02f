package pipeline

import (
	"context"
	"errors"
	"log/slog"
	"math"
	"slices"
	"strings"
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
	queued *weights
	log    *slog.Logger

	flags    atomic.Pointer[tenant.Flags] // written by refresh
	reading  sync.Mutex                   // held by refresh: an older reading must not replace a newer one
	outdated atomic.Bool                  // the last reading of tiers or flags failed
}

// newLiveConfig has no flags, and the default tiers, until it is refreshed.
func newLiveConfig(
	tenants *store.Store, health *redishealth.Health, shards *shard.Pool[*delivery], queued *weights, log *slog.Logger,
) *liveConfig {
	c := &liveConfig{store: tenants, health: health, shards: shards, queued: queued, log: log}
	c.flags.Store(&tenant.Flags{})
	return c
}

// apply puts a change in force; see [Pipeline.Reload].
func (c *liveConfig) apply(ctx context.Context, e tenant.Event) error {
	if e.Type == tenant.GlobalChanged || e.Type == tenant.FlagChanged {
		c.refresh(ctx)
	}
	return c.tell(ctx, e)
}

// tell puts a change in force for the messages that come, by the shards, and for those that wait in the fair queue. An
// error is ctx's.
func (c *liveConfig) tell(ctx context.Context, e tenant.Event) error {
	err := c.shards.Notify(ctx, e)
	c.queued.note(e, time.Now())
	return err
}

// refresh reads tiers and flags, each for itself. On an error, which is Redis's, those in force stay, and keepFresh
// tries again. A document that cannot be used is no error; see [store.Store.Unusable].
func (c *liveConfig) refresh(ctx context.Context) {
	c.reading.Lock()
	defer c.reading.Unlock()
	var flags *tenant.Flags
	err := errors.Join(
		c.health.Do(ctx, c.store.RefreshTiers),
		c.health.Do(ctx, func(ctx context.Context) (err error) {
			flags, err = c.store.Flags(ctx)
			return err
		}),
	)
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

// keepFresh repeats a failed refresh each second, and reads documents that cannot be used again, until ctx ends. So
// what was mended is in force within a second, even if nobody announced it.
func (c *liveConfig) keepFresh(ctx context.Context) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			unusable := c.store.Unusable()
			if c.outdated.Load() || unusable[store.Tiers].Count+unusable[store.Flags].Count > 0 {
				c.refreshLate(ctx)
			}
			if unusable[store.Tenants].Count > 0 {
				c.recheck(ctx, tenant.TenantChanged, c.store.RecheckTenants)
			}
			if unusable[store.Accounts].Count > 0 {
				c.recheck(ctx, tenant.AccountChanged, c.store.RecheckAccounts)
			}
		}
	}
}

// refreshLate is refresh without an event: if it changes the tiers, it tells of that.
func (c *liveConfig) refreshLate(ctx context.Context) {
	was := c.store.Tiers()
	c.refresh(ctx)
	if c.store.Tiers() != was {
		_ = c.tell(ctx, tenant.Event{Type: tenant.GlobalChanged}) // an error is ctx's
	}
}

// recheck tells of documents that can be used again.
func (c *liveConfig) recheck(ctx context.Context, change tenant.EventType, read func(context.Context) ([]string, error)) {
	var mended []string
	_ = c.health.Do(ctx, func(ctx context.Context) (err error) { // after an error the next tick tries again
		mended, err = read(ctx)
		return err
	})
	for _, id := range mended {
		_ = c.tell(ctx, tenant.Event{Type: change, TargetID: id}) // an error is ctx's
	}
}

// features returns the names of a tenant's features and of the flags that are on for the tenant, sorted.
func (c *liveConfig) features(t *tenant.Tenant) []string {
	all := append(t.Features.Names(), c.flags.Load().Enabled(t)...)
	slices.Sort(all)
	return slices.Compact(all)
}

// featureText is features as one text, joined by commas. It costs no allocation for a tenant without a flag that is on.
func (c *liveConfig) featureText(t *tenant.Tenant) string {
	if len(c.flags.Load().Enabled(t)) == 0 {
		return featureTexts[t.Features]
	}
	return strings.Join(c.features(t), ",")
}

// featureTexts are the texts of all sets of features.
var featureTexts = func() (texts [math.MaxUint8 + 1]string) {
	for set := range texts {
		names := tenant.Features(set).Names()
		slices.Sort(names)
		texts[set] = strings.Join(names, ",")
	}
	return texts
}()
