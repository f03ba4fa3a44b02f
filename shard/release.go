package shard

import (
	"context"

	"arrakis/limiter"
	"arrakis/tenant"
)

// Charged reports whether the message took a permit: the community's, the user's or both.
func (a *Admission) Charged() bool {
	return a.Verdict.Charged || a.user != nil && a.user.Verdict.Charged
}

// permit is one that is given back.
type permit struct {
	key, id string // as the limiter knows them
	limitID string
	action  tenant.Action
}

// Permit is the ID of the permit that the message took of its community, or "" if it took none.
func (a *Admission) Permit() string {
	if !a.Verdict.Charged {
		return ""
	}
	return a.request.ID
}

// TakeOver makes the permit that an earlier delivery of the message has taken, and nobody has used, this message's, so
// that it can be released. It has no effect if permit is "". Set Verdict before. A permit of the user stays taken until
// it leaves its window.
func (a *Admission) TakeOver(permit string) {
	a.request.ID, a.Verdict.Charged = permit, permit != ""
}

// Release gives back the permits that admitted messages took and did not use, and those reserved for messages that were
// rejected or Shadowed, in one round trip, and makes the shards ask Redis again about these limits. It blocks while a
// mailbox is full. After an error, which may be [redishealth.ErrAway], the permits count until they leave their windows.
// Nobody else may use the admissions.
func (p *Pool[M]) Release(ctx context.Context, admissions []*Admission) error {
	var permits []permit
	for _, a := range admissions {
		if !a.Verdict.Allowed || a.Shadowed {
			if a.Reservation != "" {
				permits = append(permits, permit{limitKey(a.Tenant, a.Action), a.permitID(), a.Tenant.LimitID(a.Action), a.Action})
			}
			continue
		}
		if a.Verdict.Charged {
			permits = append(permits, permit{limitKey(a.Tenant, a.Action), a.request.ID, a.Tenant.LimitID(a.Action), a.Action})
		}
		if a.user != nil && a.user.Verdict.Charged {
			permits = append(permits, permit{a.user.Window.Key(), a.user.ID, a.Tenant.ID, tenant.UserCommand})
		}
	}
	var batch []*limiter.Request
	targets := make(map[string]struct{})
	for _, t := range permits {
		batch = append(batch, &limiter.Request{Window: limiter.NewWindow(t.key), ID: t.id})
		targets[Key(t.limitID, t.action)] = struct{}{}
	}
	if err := p.limits.ReleaseBatch(ctx, batch); err != nil {
		return err
	}
	for target := range targets { // the shards own the windows, which may say that the limit is used up
		if err := p.tell(ctx, tenant.Event{Type: tenant.LimitReset, TargetID: target}); err != nil {
			return err
		}
	}
	return nil
}
