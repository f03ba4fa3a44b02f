package main

import (
	"context"
	"fmt"

	"github.com/redis/go-redis/v9"

	"arrakis/limiter"
	"arrakis/shard"
	"arrakis/tenant"
)

// counted are the actions that a community's usage is shown and reset by.
// What each user has used is not listed: it is forgotten after a minute.
var counted = []tenant.Action{tenant.Command, tenant.EligibilityCheck, tenant.SyncRequest}

type usageCmd struct {
	Community string `arg:"" help:"ID that messages carry."`
	outputFlags
	redisSettings
}

// actionUsage is one action in the JSON of usage.
type actionUsage struct {
	Action    string `json:"action"`
	Used      int64  `json:"used"`
	Limit     int64  `json:"limit"`
	Remaining int64  `json:"remaining"`
	ResetMS   int64  `json:"reset_ms"`
}

// communityUsage is the JSON of usage.
type communityUsage struct {
	Community string        `json:"community_id"`
	Tier      tenant.Tier   `json:"tier"`
	Usage     []actionUsage `json:"usage"`
}

func (c *usageCmd) Run(ctx context.Context, p process) error {
	return withLimits(ctx, p, &c.redisSettings, c.Community, func(l *limits) error {
		used, err := usageOf(ctx, l.limiter, l.tenant)
		if err != nil {
			return err
		}
		return c.print(p.stdout, used, func(t *table) {
			t.row("community", used.Community+" ("+string(used.Tier)+")")
			t.row("ACTION", "USED", "LIMIT", "REMAINING", "RESETS IN")
			for _, u := range used.Usage {
				resets := "-"
				if u.ResetMS > 0 {
					resets = short(milliseconds(u.ResetMS))
				}
				t.row(u.Action, count(u.Used), count(u.Limit), count(u.Remaining), resets)
			}
		})
	})
}

// usageOf asks for all actions of a tenant in one round trip.
func usageOf(ctx context.Context, l *limiter.Limiter, t *tenant.Tenant) (communityUsage, error) {
	queries := make([]limiter.Query, len(counted))
	for i, a := range counted {
		n, window := t.Limit(a)
		queries[i] = limiter.Query{Key: shard.Key(t.ID, a), Limit: limiter.Limit{Max: n, Window: window}}
	}
	usages, err := l.Usages(ctx, queries)
	if err != nil {
		return communityUsage{}, fmt.Errorf("usage of %q: %w", t.ID, err)
	}
	out := communityUsage{Community: t.ID, Tier: t.Tier}
	for i, u := range usages {
		out.Usage = append(out.Usage, actionUsage{
			Action: counted[i].String(), Used: u.Used, Limit: u.Limit, Remaining: u.Remaining,
			ResetMS: u.ResetAfter.Milliseconds(),
		})
	}
	return out, nil
}

// limits is what the commands about a community's limits work with.
type limits struct {
	store   *tenant.Store
	limiter *limiter.Limiter
	tenant  *tenant.Tenant
}

func withLimits(ctx context.Context, p process, s *redisSettings, community string, f func(*limits) error) error {
	if !tenant.ValidID(community) {
		return usageError{fmt.Errorf("community %q: expected 1 to 128 letters, digits, _, : or -", community)}
	}
	return withStoreOn(ctx, p, s, func(rdb redis.UniversalClient, store *tenant.Store) error {
		// Closed: an answer from this process's own memory would be wrong.
		l, err := limiter.New(rdb, limiter.Options{OnRedisDown: limiter.Closed})
		if err != nil {
			return err
		}
		tenants, err := store.Load(ctx, []string{community})
		if err != nil {
			return err
		}
		return f(&limits{store: store, limiter: l, tenant: tenants[0]})
	})
}
