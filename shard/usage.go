package shard

import (
	"context"
	"fmt"
	"time"

	"arrakis/limiter"
	"arrakis/tenant"
	"arrakis/tenant/store"
)

// counted are the actions whose usage is shown. The usage of single users is not shown.
var counted = []tenant.Action{tenant.Command, tenant.EligibilityCheck, tenant.SyncRequest}

// Limits reads and resets the usage of communities over all processes. All fields are required. It is safe for
// concurrent use.
type Limits struct {
	Tenants *store.Store
	Limiter *limiter.Limiter // must use the same Redis as Tenants
}

// Usage says how much of its limits a community has used.
type Usage struct {
	Community string      `json:"community_id"`
	Tier      tenant.Tier `json:"tier"`
	// Account is the one that the community is in. If it counts together, the usage is that of all its communities.
	Account *tenant.Membership `json:"account,omitempty"`
	// Mode says whether the limits are enforced.
	Mode    tenant.Mode   `json:"mode"`
	Actions []ActionUsage `json:"actions"`
	// Degraded says that Redis cannot be used, and only the admissions of this process are counted.
	Degraded bool `json:"degraded,omitzero"`
}

// ActionUsage is the usage of one action. Limit and Remaining are -1 for unlimited.
type ActionUsage struct {
	Action    string `json:"action"`
	Used      int64  `json:"used"`
	Limit     int64  `json:"limit"`
	Remaining int64  `json:"remaining"`
	Boost     *Boost `json:"boost,omitzero"`   // that is in force; Limit counts it
	Delayed   int64  `json:"delayed,omitzero"` // messages that wait for a permit that is theirs
	ResetMS   int64  `json:"reset_ms"`         // until the oldest admission leaves the window; 0: there is none
	WindowMS  int64  `json:"window_ms"`
}

// Boost raises a limit until a time.
type Boost struct {
	Add    int64     `json:"add"`
	Until  time.Time `json:"until"`
	LeftMS int64     `json:"left_ms"` // for how long it still lasts, by the clock of Redis
}

// Usage returns the usage of the community that the tenant key id belongs to. Errors: [*tenant.FieldError] for a bad
// id, [redishealth.ErrAway].
func (l *Limits) Usage(ctx context.Context, id string) (Usage, error) {
	t, err := l.tenant(ctx, id)
	if err != nil {
		return Usage{}, err
	}
	return UsageOf(ctx, l.Limiter, t)
}

// UsageOf returns the usage of a tenant's limits. It makes one round trip to Redis.
func UsageOf(ctx context.Context, l *limiter.Limiter, t *tenant.Tenant) (Usage, error) {
	queries := make([]limiter.Query, len(counted))
	for i, a := range counted {
		queries[i] = limiter.Query{Key: limitKey(t, a), Limit: limitOf(t, a)}
	}
	usages, err := l.Usages(ctx, queries)
	if err != nil {
		return Usage{}, fmt.Errorf("usage of %q: %w", t.ID, err)
	}
	out := Usage{Community: t.ID, Tier: t.Tier, Account: t.Account, Mode: t.Mode()}
	for i, u := range usages {
		out.Degraded = out.Degraded || u.Degraded
		action := ActionUsage{
			Action: counted[i].String(), Used: u.Used, Limit: u.Limit, Remaining: u.Remaining, Delayed: u.Delayed,
			ResetMS:  milliseconds(u.ResetAfter),
			WindowMS: queries[i].Limit.Window.Milliseconds(),
		}
		if u.Boost > 0 {
			action.Boost = &Boost{Add: u.Boost, Until: t.Boost(counted[i]).Until, LeftMS: u.BoostLeft.Milliseconds()}
		}
		out.Actions = append(out.Actions, action)
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
