package shard

import (
	"context"
	"fmt"
	"time"

	"arrakis/limiter"
	"arrakis/tenant"
)

// decide gives every message of the batch its verdict. A user's own limit, if
// the tenant has set one, is asked before the community's, in a round trip of
// its own: their keys may be on different nodes of a cluster. If the
// community's limit then refuses a message, the user's permit is released.
func (s *shard[M]) decide(ctx context.Context) error {
	if err := s.decideUsers(ctx); err != nil {
		return err
	}
	defer s.clearAsks()
	for _, m := range s.batch {
		a := m.Admission()
		a.LimitedBy = a.Action
		switch {
		case !a.Limited:
			a.Verdict = limiter.Verdict{Allowed: true, Limit: limiter.Unlimited, Remaining: limiter.Unlimited}
		case a.refusedByUser():
			a.Verdict, a.LimitedBy = a.user.Verdict, tenant.UserCommand
		default:
			r := &a.request // set by field: its Verdict is large, and comes from the limiter
			r.Window, r.Limit, r.ID, r.Replay = a.entry.window(a.Action), limitOf(a.Tenant, a.Action), a.ID, a.Replay
			s.asks = append(s.asks, r)
		}
	}
	if len(s.asks) == 0 {
		return nil
	}
	if err := s.limits.AllowBatch(ctx, s.asks); err != nil {
		return fmt.Errorf("decide on %d messages: %w", len(s.asks), err)
	}
	for _, m := range s.batch {
		if a := m.Admission(); a.Limited && !a.refusedByUser() {
			a.Verdict = a.request.Verdict
		}
	}
	return s.releaseUsers(ctx)
}

// decideUsers asks for the users whose tenants limit them. A message that is
// known to be over the community's limit is left out, so that a flood costs
// Redis nothing.
func (s *shard[M]) decideUsers(ctx context.Context) error {
	now := time.Now()
	defer s.clearAsks()
	for _, m := range s.batch {
		a := m.Admission()
		if !a.Limited || a.Action != tenant.Command || a.User == "" || a.Tenant.Max[tenant.UserCommand] < 0 {
			continue
		}
		if _, full := a.entry.window(a.Action).Reject(limitOf(a.Tenant, a.Action), now); full && !a.Replay {
			continue
		}
		a.user = &limiter.Request{
			Window: s.userWindow(a), Limit: limitOf(a.Tenant, tenant.UserCommand), ID: a.ID, Replay: a.Replay,
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

// clearAsks empties asks: they point into messages, which are not to live on.
func (s *shard[M]) clearAsks() {
	clear(s.asks)
	s.asks = s.asks[:0]
}

// limitOf translates a tenant's numbers into a limit.
func limitOf(t *tenant.Tenant, a tenant.Action) limiter.Limit {
	n, window := t.Limit(a)
	return limiter.Limit{Max: n, Window: window}
}

func (s *shard[M]) userWindow(a *Admission) *limiter.Window {
	if w, ok := s.users.Get(userKey{a.Tenant.ID, a.User}); ok {
		return w
	}
	key := UserKey(a.Tenant.ID, a.User)
	w := limiter.NewWindow(key)
	// The user's ID is cut out of key: the message's text does not live as long.
	s.users.Add(userKey{a.Tenant.ID, key[len(key)-len(a.User):]}, w)
	return w
}

// releaseUsers releases the users' permits of messages that the community's limit
// refused, in one round trip. While Redis is away a permit stays taken: the
// user is rejected too early rather than too late.
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
