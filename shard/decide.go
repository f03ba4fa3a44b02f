package shard

import (
	"context"
	"fmt"
	"time"

	"arrakis/limiter"
	"arrakis/tenant"
)

// decide sets the verdict of every message of the batch. If the tenant limits its users, the user's limit is checked
// before the community's. It needs a round trip of its own, because the keys of both limits may be on different nodes
// of a cluster. If the community's limit then refuses the message, the user's permit is released.
func (s *shard[M]) decide(ctx context.Context) error {
	if err := s.findReservations(ctx); err != nil {
		return err
	}
	if err := s.decideUsers(ctx); err != nil {
		return err
	}
	defer s.clearAsks()
	for _, m := range s.batch {
		a := m.Admission()
		if !a.Shadowed {
			a.LimitedBy = a.Action
		}
		switch {
		case a.Admitted:
			a.Verdict.Allowed = true
		case !a.Limited:
			a.Verdict = limiter.Verdict{Allowed: true, Limit: limiter.Unlimited, Remaining: limiter.Unlimited}
		case a.refusedByUser():
			a.Verdict, a.LimitedBy = a.user.Verdict, tenant.UserCommand
		default:
			r := &a.request // set field by field, because Verdict is large and the limiter sets it
			r.Window, r.Limit, r.ID, r.Repeated = a.entry.window(a.Action), limitOf(a.Tenant, a.Action), a.permitID(), a.MayHold()
			s.asks = append(s.asks, r)
		}
	}
	if len(s.asks) == 0 {
		return nil
	}
	if err := s.limits.AllowBatch(ctx, s.asks); err != nil {
		return fmt.Errorf("decide on %d messages: %w", len(s.asks), err)
	}
	if err := s.decideRuns(ctx); err != nil {
		return err
	}
	for _, m := range s.batch {
		if a := m.Admission(); a.asks() && !a.refusedByUser() {
			a.Verdict = a.request.Verdict
		}
	}
	return s.releaseUsers(ctx)
}

// decideRuns asks for a permit of its own for each message that was admitted with the permit of an earlier message, and
// may not use it.
func (s *shard[M]) decideRuns(ctx context.Context) error {
	s.clearAsks()
	for _, m := range s.batch {
		a := m.Admission()
		r := &a.request
		if a.Run == "" || a.Reservation != "" || !a.asks() || a.refusedByUser() || !r.Verdict.Allowed || r.Verdict.Charged || r.Limit.Max == limiter.Unlimited {
			continue
		}
		r.ID += " " + a.Run // no event ID has a space
		s.asks = append(s.asks, r)
	}
	if len(s.asks) == 0 {
		return nil
	}
	if err := s.limits.AllowBatch(ctx, s.asks); err != nil {
		return fmt.Errorf("decide on %d messages with event IDs of others: %w", len(s.asks), err)
	}
	return nil
}

// decideUsers checks the users' limits, for tenants that limit their users. It skips a message that is known to be over
// the community's limit, so that a flood costs Redis nothing.
func (s *shard[M]) decideUsers(ctx context.Context) error {
	now := time.Now()
	defer s.clearAsks()
	for _, m := range s.batch {
		a := m.Admission()
		if !a.asks() || !a.limitsUser() {
			continue
		}
		if _, full := a.entry.window(a.Action).Reject(limitOf(a.Tenant, a.Action), now); full && !a.MayHold() {
			continue
		}
		a.user = &limiter.Request{
			Window: s.userWindow(a), Limit: limitOf(a.Tenant, tenant.UserCommand), ID: a.permitID(), Repeated: a.MayHold(),
		}
		s.asks = append(s.asks, a.user)
	}
	if len(s.asks) == 0 {
		return nil
	}
	if err := s.limits.AllowBatch(ctx, s.asks); err != nil {
		return fmt.Errorf("decide on the users of %d messages: %w", len(s.asks), err)
	}
	return nil
}

// clearAsks empties asks. The requests point into messages, which must not be kept in memory.
func (s *shard[M]) clearAsks() {
	clear(s.asks)
	s.asks = s.asks[:0]
}

// limitOf is a tenant's limit for an action, as the limiter takes it.
func limitOf(t *tenant.Tenant, a tenant.Action) limiter.Limit {
	n, window := t.Limit(a)
	l := limiter.Limit{Max: n, Window: window}
	if b := t.Boost(a); b.Add > 0 {
		l.Boost, l.BoostUntil = b.Add, max(0, b.Until.UnixMilli())
	}
	return l
}

func (s *shard[M]) userWindow(a *Admission) *limiter.Window {
	if w, ok := s.users.Get(userKey{a.Tenant.ID, a.User}); ok {
		return w
	}
	key := UserKey(a.Tenant.ID, a.User)
	w := limiter.NewWindow(key)
	// The user's ID is taken from key and not from the message, so that the message's text is not kept in memory.
	s.users.Add(userKey{a.Tenant.ID, key[len(key)-len(a.User):]}, w)
	return w
}

// releaseUsers releases, in one round trip, the users' permits of messages that the community's limit refused. While
// Redis is away, such a permit stays taken: the user is rejected too early rather than too late.
func (s *shard[M]) releaseUsers(ctx context.Context) error {
	s.clearAsks()
	for _, m := range s.batch {
		if a := m.Admission(); a.user != nil && a.user.Verdict.Charged && !a.Verdict.Allowed {
			s.asks = append(s.asks, a.user)
		}
	}
	if err := s.limits.ReleaseBatch(ctx, s.asks); err != nil && ctx.Err() != nil {
		return fmt.Errorf("release users' permits: %w", err)
	}
	return nil
}
