package main

import (
	"context"

	"github.com/redis/go-redis/v9"

	"arrakis/limiter"
	"arrakis/shard"
	"arrakis/tenant"
	"arrakis/tenant/store"
)

type usageCmd struct {
	Community string `arg:"" help:"ID that messages carry."`
	storeFlags
}

func (c *usageCmd) validate(process) error { return tenant.CheckID(c.Community) }

func (c *usageCmd) Run(ctx context.Context, p process) error {
	return c.withLimits(ctx, p, func(l *shard.Limits) error {
		used, err := l.Usage(ctx, c.Community)
		if err != nil {
			return err
		}
		return c.print(p.stdout, used, func(t *table) {
			t.row("community", used.Community+" ("+string(used.Tier)+")")
			t.row("ACTION", "USED", "LIMIT", "REMAINING", "RESETS IN")
			for _, u := range used.Actions {
				resets := "-"
				if u.ResetMS > 0 {
					resets = short(milliseconds(u.ResetMS))
				}
				t.row(u.Action, count(u.Used), count(u.Limit), count(u.Remaining), resets)
			}
		})
	})
}

// withLimits runs f with the limits in Redis.
func (s *storeFlags) withLimits(ctx context.Context, p process, f func(*shard.Limits) error) error {
	return s.withTiers(ctx, p, func(rdb redis.UniversalClient, tenants *store.Store) error {
		// Closed, because an answer from the memory of this process would be wrong.
		l, err := limiter.New(rdb, limiter.Options{OnRedisDown: limiter.Closed})
		if err != nil {
			return err
		}
		return f(&shard.Limits{Tenants: tenants, Limiter: l})
	})
}
