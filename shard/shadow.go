package shard

import (
	"context"
	"fmt"

	"arrakis/limiter"
	"arrakis/tenant"
)

// LetPass reports whether a message that a limit has refused passes all the same, because the tenant is in shadow mode.
// Then it admits the message, without a permit, and marks it as Shadowed if its limit is used up. (Under the policy
// closed a limit that cannot be checked refuses too; that says nothing of the limit.)
func (a *Admission) LetPass() bool {
	if !a.Tenant.Shadow {
		return false
	}
	a.Shadowed = a.Shadowed || !a.Verdict.Unavailable
	a.Verdict.Allowed = true
	a.user = nil // its permit, if it took one, was given back
	return true
}

// PassReserved admits messages of tenants in shadow mode at once, each with the permit that is reserved for it and will be
// free later. So reservations use the limit up as they do when it is enforced. Where users have limits, it asks for their
// permits too, as the shard would if the messages came back now, and marks what those refuse as Shadowed. An error is ctx's.
func (p *Pool[M]) PassReserved(ctx context.Context, batch []*Admission) error {
	var asks []*limiter.Request
	for _, a := range batch {
		if a.user = nil; !a.limitsUser() {
			continue
		}
		a.user = &limiter.Request{
			Window: limiter.NewWindow(UserKey(a.Tenant.ID, a.User)), Limit: limitOf(a.Tenant, tenant.UserCommand),
			ID: a.permitID(), Repeated: true,
		}
		asks = append(asks, a.user)
	}
	if err := p.limits.AllowBatch(ctx, asks); err != nil {
		return fmt.Errorf("decide on the users of %d messages with reservations: %w", len(asks), err)
	}
	for _, a := range batch {
		a.Verdict.Allowed = true
		a.TakeOver(a.permitID())
		if a.refusedByUser() && !a.user.Verdict.Unavailable {
			a.Shadowed, a.LimitedBy = true, tenant.UserCommand
		}
	}
	return nil
}
