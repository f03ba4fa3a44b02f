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

// Release gives back the permits that admitted messages took and did not use, in one round trip, and makes the shards
// ask Redis again about these limits. It blocks while a mailbox is full. After an error, which may be
// [redishealth.ErrAway], the permits count until they leave their windows. Nobody else may use the admissions.
func (p *Pool[M]) Release(ctx context.Context, admissions []*Admission) error {
	var batch []*limiter.Request
	targets := make(map[string]struct{})
	release := func(key, id string, a *Admission, action tenant.Action) {
		batch = append(batch, &limiter.Request{Window: limiter.NewWindow(key), ID: id})
		targets[a.Tenant.ID+":"+action.String()] = struct{}{}
	}
	for _, a := range admissions {
		if a.Verdict.Charged {
			release(Key(a.Tenant.ID, a.Action), a.request.ID, a, a.Action)
		}
		if a.user != nil && a.user.Verdict.Charged {
			release(a.user.Window.Key(), a.user.ID, a, tenant.UserCommand)
		}
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
