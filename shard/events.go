package shard

import (
	"math/rand/v2"
	"slices"
	"time"

	"arrakis/limiter"
	"arrakis/tenant"
)

// refreshSpread is over how long the reading of all tenants is spread after a
// change that concerns them all: short of the second in which a change is to
// be in force everywhere.
const refreshSpread = 750 * time.Millisecond

// apply takes in one event. Nothing is read here: a tenant is read when its
// next message comes, so that a change of all costs no more than the traffic.
func (s *shard[M]) apply(e *tenant.Event) {
	switch e.Type {
	case tenant.TenantChanged:
		if entry, ok := s.cache.Peek(e.TargetID); ok {
			entry.expires = time.Time{}
		}
	case tenant.GlobalChanged:
		now := time.Now()
		for _, entry := range s.cache.Values() {
			if at := now.Add(rand.N(refreshSpread)); at.Before(entry.expires) { //nolint:gosec // jitter
				entry.expires = at
			}
			clear(entry.windows[:])
		}
		s.users.Purge()
	case tenant.LimitReset:
		s.reset(e)
	case tenant.FlagChanged: // shards do not evaluate flags
	}
}

// reset drops the windows of a community. Several tenant keys can be one
// community, so all shards look for it.
func (s *shard[M]) reset(e *tenant.Event) {
	community, actions, ok := e.Reset()
	if !ok {
		return
	}
	for _, entry := range s.cache.Values() {
		if entry.tenant != nil && entry.tenant.ID == community {
			for _, a := range actions {
				entry.windows[a] = nil
			}
		}
	}
	if !slices.Contains(actions, tenant.UserCommand) {
		return
	}
	for _, key := range s.users.Keys() {
		if key.community == community {
			s.users.Remove(key)
		}
	}
}

// forgetLocal makes this process's limiter forget the actions of a community
// that another process has reset.
func forgetLocal(l *limiter.Limiter, community string, actions []tenant.Action) {
	for _, a := range actions {
		if a == tenant.UserCommand {
			l.ForgetLocalPrefix(UserKey(community, ""))
		} else {
			l.ForgetLocal(Key(community, a))
		}
	}
}
