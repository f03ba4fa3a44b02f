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
// its own: their keys may be on different nodes of a cluster. What the
// community then refuses gives the user's permit back.
func (s *shard[M]) decide(ctx context.Context) error {
	if err := s.decideUsers(ctx); err != nil {
		return err
	}
	defer s.forgetAsks()
	for _, m := range s.batch {
		r := m.Request()
		r.LimitedBy = r.Action
		switch {
		case !r.Limited:
			r.Verdict = limiter.Verdict{Allowed: true, Limit: limiter.Unlimited, Remaining: limiter.Unlimited}
		case r.refusedByUser():
			r.Verdict, r.LimitedBy = r.user.Verdict, tenant.UserCommand
		default:
			r.Window, r.Limit = r.entry.window(r.Action), limitOf(r.Tenant, r.Action)
			s.asks = append(s.asks, &r.Request)
		}
	}
	if len(s.asks) == 0 {
		return nil
	}
	if err := s.limits.AllowBatch(ctx, s.asks); err != nil {
		return fmt.Errorf("decide on %d messages: %w", len(s.asks), err)
	}
	return s.giveBack(ctx)
}

// decideUsers asks for the users whose tenants limit them. What is known to be
// over the community's limit does not come so far, so that a flood costs
// Redis nothing.
func (s *shard[M]) decideUsers(ctx context.Context) error {
	now := time.Now()
	defer s.forgetAsks()
	for _, m := range s.batch {
		r := m.Request()
		if !r.Limited || r.Action != tenant.Command || r.User == "" || r.Tenant.Max[tenant.UserCommand] < 0 {
			continue
		}
		if _, full := r.entry.window(r.Action).Reject(limitOf(r.Tenant, r.Action), now); full && !r.Replay {
			continue
		}
		r.user = &limiter.Request{
			Window: s.userWindow(r), Limit: limitOf(r.Tenant, tenant.UserCommand), ID: r.ID, Replay: r.Replay,
		}
		s.asks = append(s.asks, r.user)
	}
	if len(s.asks) == 0 {
		return nil
	}
	if err := s.limits.AllowBatch(ctx, s.asks); err != nil {
		return fmt.Errorf("decide on the users of %d messages: %w", len(s.asks), err)
	}
	return nil
}

// forgetAsks empties asks, which point into messages.
func (s *shard[M]) forgetAsks() {
	clear(s.asks)
	s.asks = s.asks[:0]
}

// limitOf translates a tenant's numbers into a limit.
func limitOf(t *tenant.Tenant, a tenant.Action) limiter.Limit {
	n, window := t.Limit(a)
	return limiter.Limit{Max: n, Window: window}
}

// refusedByUser reports whether the user's own limit was asked and refused.
func (r *Request) refusedByUser() bool { return r.user != nil && !r.user.Verdict.Allowed }

func (s *shard[M]) userWindow(r *Request) *limiter.Window {
	if w, ok := s.users.Get(userKey{r.Tenant.ID, r.User}); ok {
		return w
	}
	key := UserKey(r.Tenant.ID, r.User)
	w := limiter.NewWindow(key)
	// The user's ID is cut out of key: the message's text does not live as long.
	s.users.Add(userKey{r.Tenant.ID, key[len(key)-len(r.User):]}, w)
	return w
}

// giveBack returns the users' permits of messages that the community's limit
// refused, in one round trip. While Redis is away a permit stays taken: the
// user is rejected too early rather than too late.
func (s *shard[M]) giveBack(ctx context.Context) error {
	s.forgetAsks()
	for _, m := range s.batch {
		if r := m.Request(); r.user != nil && r.user.Verdict.Charged && !r.Verdict.Allowed {
			s.asks = append(s.asks, r.user)
		}
	}
	if err := s.limits.ReleaseBatch(ctx, s.asks); err != nil && ctx.Err() != nil {
		return fmt.Errorf("give back permits: %w", err)
	}
	return nil
}
