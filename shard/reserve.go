package shard

import (
	"context"
	"time"

	"arrakis/limiter"
)

// Reservation asks for a permit for later, for a message that its community's limit has rejected.
type Reservation struct {
	Admission *Admission
	// Name tells the message from others with its event ID. It has no space.
	Name string
	// Longest is how long the message can wait.
	Longest time.Duration

	// Set by Reserve, as in [limiter.Reservation].
	Answer limiter.ReserveAnswer
	Wait   time.Duration
}

// OverLimit reports whether the message was rejected because its community has used up its limit, as Redis has said: a
// permit will be free.
func (a *Admission) OverLimit() bool {
	v := &a.Verdict
	return !v.Allowed && !v.Degraded && v.Limit > 0 && a.LimitedBy == a.Action
}

// Reserve reserves permits in the order of the batch, in one round trip, as many as Tenant.MaxDelayed allows. Where one
// is granted, it sets Admission.Reservation, under which the message gets its permit when it comes again after Wait. A
// message that had a reservation when it came, and is too late for it, gets another one in any case. An error is ctx's.
func (p *Pool[M]) Reserve(ctx context.Context, batch []*Reservation) error {
	asks := make([]*limiter.Reservation, len(batch))
	for i, r := range batch {
		a := r.Admission
		asks[i] = &limiter.Reservation{
			Key: Key(a.Tenant.ID, a.Action), Limit: limitOf(a.Tenant, a.Action), ID: a.permitOf(r.Name), Again: a.Reservation != "",
			Most: a.Tenant.MaxDelayed[a.Action], Longest: r.Longest,
		}
	}
	if err := p.limits.Reserve(ctx, asks); err != nil {
		return err
	}
	for i, r := range batch {
		r.Answer, r.Wait = asks[i].Answer, asks[i].Wait
		if r.Answer == limiter.Granted {
			r.Admission.Reservation = r.Name
		}
	}
	return nil
}
