package shard

import (
	"math/rand/v2"
	"slices"
	"time"

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
			entry.forget(allActions)
		}
		s.forgetUsers(func(userKey) bool { return true })
	case tenant.LimitReset:
		s.reset(e)
	case tenant.FlagChanged: // shards do not evaluate flags
	}
}

var allActions = []tenant.Action{tenant.Command, tenant.EligibilityCheck, tenant.SyncRequest, tenant.UserCommand}

// reset drops what the windows of a community know. Several carried IDs can be
// one community, so all shards look for it.
func (s *shard[M]) reset(e *tenant.Event) {
	community, actions, ok := e.Reset()
	if !ok {
		return
	}
	for _, entry := range s.cache.Values() {
		if entry.tenant != nil && entry.tenant.ID == community {
			entry.forget(actions)
		}
	}
	if slices.Contains(actions, tenant.UserCommand) {
		s.forgetUsers(func(k userKey) bool { return k.community == community })
	}
}

func (e *entry) forget(actions []tenant.Action) {
	for _, a := range actions {
		if w := e.windows[a]; w != nil {
			w.Forget()
		}
	}
}

func (s *shard[M]) forgetUsers(which func(userKey) bool) {
	for _, key := range s.users.Keys() {
		if w, ok := s.users.Peek(key); ok && which(key) {
			w.Forget()
		}
	}
}
