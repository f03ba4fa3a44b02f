package shard

import (
	"context"
	"fmt"
	"math"
	"time"

	"arrakis/limiter"
)

// Reservation asks for a permit for later, for a message that its community's limit has rejected.
type Reservation struct {
	Admission *Admission
	// Name tells the message from others with its event ID. It has no space.
	Name string
	// Again is as in [limiter.Reservation].
	Again bool
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

// findReservations finds the permits that were reserved for messages of the batch which were delivered before: their worker
// may have died then, and they must not be charged for another permit.
func (s *shard[M]) findReservations(ctx context.Context) error {
	var asks []*limiter.Reservation
	var asking []*Admission // for each of asks
	for _, m := range s.batch {
		a := m.Admission()
		if a.MayBeReserved == "" || a.Reservation != "" || !a.asks() || a.Tenant.MaxDelayed[a.Action] == 0 {
			continue
		}
		limit := limitOf(a.Tenant, a.Action)
		if limit.Max < 1 && limit.Boost == 0 {
			continue // it is unlimited, or admits nothing
		}
		asks = append(asks, &limiter.Reservation{
			Key: limitKey(a.Tenant, a.Action), Limit: limit, ID: a.permitOf(a.MayBeReserved), Most: 0, Longest: math.MaxInt64,
		})
		asking = append(asking, a)
	}
	if len(asks) == 0 {
		return nil
	}
	if err := s.limits.Reserve(ctx, asks); err != nil { // with a Most of 0 it only looks
		return fmt.Errorf("look for the reservations of %d messages: %w", len(asks), err)
	}
	for i, a := range asking {
		if asks[i].Answer == limiter.Granted {
			a.Reservation = a.MayBeReserved
		}
	}
	return nil
}

// Reserve reserves permits in the order of the batch, in one round trip, as many as Tenant.MaxDelayed allows. Where one
// is granted, it sets Admission.Reservation, under which the message gets its permit when it comes again after Wait. An
// error is ctx's.
func (p *Pool[M]) Reserve(ctx context.Context, batch []*Reservation) error {
	asks := make([]*limiter.Reservation, len(batch))
	for i, r := range batch {
		a := r.Admission
		asks[i] = &limiter.Reservation{
			Key: limitKey(a.Tenant, a.Action), Limit: limitOf(a.Tenant, a.Action), ID: a.permitOf(r.Name), Again: r.Again,
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
