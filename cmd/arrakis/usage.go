package main

import (
	"context"
	"errors"
	"slices"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/redis/go-redis/v9"

	"arrakis/limiter"
	"arrakis/limiter/redishealth"
	"arrakis/pipeline/lanes"
	"arrakis/pipeline/view"
	"arrakis/shard"
	"arrakis/tenant"
	"arrakis/tenant/store"
)

type usageCmd struct {
	Community string `arg:"" help:"ID that messages carry."`
	storeFlags
	natsSettings
}

func (*usageCmd) Help() string {
	return "What waits in lanes is known only if NATS can be reached: a community that has more messages waiting than its share waits in a lane, where it holds up nobody else."
}

func (c *usageCmd) validate(process) error {
	return errors.Join(tenant.CheckID(c.Community), c.natsSettings.validate())
}

func (c *usageCmd) Run(ctx context.Context, p process) error {
	return c.withLimits(ctx, p, func(l *shard.Limits) error {
		limits, err := l.Usage(ctx, c.Community)
		if err != nil {
			return err
		}
		used := view.Usage{Usage: limits, Lanes: c.lanes(ctx, limits.Community)}
		return c.print(p.stdout, used, func(t *table) {
			t.row("community", used.Community+" ("+string(used.Tier)+")")
			accountRow(t, used.Account)
			if used.Mode == tenant.Shadow {
				t.row("mode", shadowText)
			}
			header := []string{"ACTION", "USED", "LIMIT", "REMAINING", "RESETS IN"}
			boosts := slices.ContainsFunc(used.Actions, func(u shard.ActionUsage) bool { return u.Boost != nil })
			if boosts {
				header = append(header, "BOOST")
			}
			delays := slices.ContainsFunc(used.Actions, func(u shard.ActionUsage) bool { return u.Delayed > 0 })
			if delays {
				header = append(header, "DELAYED")
			}
			t.row(header...)
			for _, u := range used.Actions {
				resets := "-"
				if u.ResetMS > 0 {
					resets = short(milliseconds(u.ResetMS))
				}
				cells := []string{u.Action, count(u.Used), count(u.Limit), count(u.Remaining), resets}
				if boosts {
					cells = append(cells, leftText(u.Boost))
				}
				if delays {
					cells = append(cells, count(u.Delayed))
				}
				t.row(cells...)
			}
			t.row("")
			if used.Lanes == nil {
				t.row("NATS does not answer, so what waits in lanes is not known.")
				return
			}
			if len(*used.Lanes) == 0 {
				t.row("In no lane.")
				return
			}
			laneTable(t, *used.Lanes)
		})
	})
}

// lanes returns what waits in the lanes of a community, or nil if NATS does not say.
func (c *usageCmd) lanes(ctx context.Context, community string) *[]view.Lane {
	var found []lanes.Status
	f := natsFlags{natsSettings: c.natsSettings}
	err := f.withServers(&c.redisSettings, func(js jetstream.JetStream, rdb redis.UniversalClient, health *redishealth.Health) (err error) {
		found, err = lanes.Look(ctx, js, rdb, health, community)
		return err
	})
	if err != nil {
		return nil
	}
	list := view.NewLanes(found)
	return &list
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
