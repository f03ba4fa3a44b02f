package shard

import (
	"context"
	"fmt"
	"time"

	"arrakis/limiter"
	"arrakis/tenant"
	"arrakis/tenant/store"
)

// counted are the actions that a community has used something of. What each
// user has used is not shown.
var counted = []tenant.Action{tenant.Command, tenant.EligibilityCheck, tenant.SyncRequest}

// Limits reads and resets what communities have used, for all processes. All
// fields are required. It is safe for concurrent use.
type Limits struct {
	Tenants *store.Store
	Limiter *limiter.Limiter // that counts in the Redis of Tenants
}

// Usage is what a community has used of its limits.
type Usage struct {
	Community string        `json:"community_id"`
	Tier      tenant.Tier   `json:"tier"`
	Actions   []ActionUsage `json:"actions"`
	// Degraded says that Redis cannot be used and only what this process has
	// admitted is counted.
	Degraded bool `json:"degraded,omitzero"`
}

// ActionUsage is one action of a [Usage]. Limit and Remaining are -1 for
// unlimited.
type ActionUsage struct {
	Action    string `json:"action"`
	Used      int64  `json:"used"`
	Limit     int64  `json:"limit"`
	Remaining int64  `json:"remaining"`
	ResetMS   int64  `json:"reset_ms"` // until the oldest admission leaves the window, 0 for none
	WindowMS  int64  `json:"window_ms"`
}

// Usage returns what is used of the limits of the community that messages with
// the tenant key id count for. Errors: [*tenant.FieldError] for a bad id,
// [redishealth.ErrAway].
func (l *Limits) Usage(ctx context.Context, id string) (Usage, error) {
	t, err := l.tenant(ctx, id)
	if err != nil {
		return Usage{}, err
	}
	return UsageOf(ctx, l.Limiter, t)
}

// UsageOf returns what is used of a tenant's limits, from one round trip to Redis.
func UsageOf(ctx context.Context, l *limiter.Limiter, t *tenant.Tenant) (Usage, error) {
	queries := make([]limiter.Query, len(counted))
	for i, a := range counted {
		queries[i] = limiter.Query{Key: Key(t.ID, a), Limit: limitOf(t, a)}
	}
	usages, err := l.Usages(ctx, queries)
	if err != nil {
		return Usage{}, fmt.Errorf("usage of %q: %w", t.ID, err)
	}
	out := Usage{Community: t.ID, Tier: t.Tier}
	for i, u := range usages {
		out.Degraded = out.Degraded || u.Degraded
		out.Actions = append(out.Actions, ActionUsage{
			Action: counted[i].String(), Used: u.Used, Limit: u.Limit, Remaining: u.Remaining,
			// Rounded up: whoever waits that long is not early.
			ResetMS:  (u.ResetAfter + time.Millisecond - 1).Milliseconds(),
			WindowMS: queries[i].Limit.Window.Milliseconds(),
		})
	}
	return out, nil
}

func (l *Limits) tenant(ctx context.Context, id string) (*tenant.Tenant, error) {
	if err := tenant.CheckID(id); err != nil {
		return nil, err
	}
	tenants, err := l.Tenants.Load(ctx, []string{id})
	if err != nil {
		return nil, err
	}
	return tenants[0], nil
}
