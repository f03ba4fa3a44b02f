package shard

import (
	"math/rand/v2"
	"slices"
	"time"

	"arrakis/limiter"
	"arrakis/tenant"
)

// refreshSpread is the time over which the tenants are read again after a change that concerns all of them. It is less
// than the second within which a change must be in force everywhere.
const refreshSpread = 750 * time.Millisecond

// configWritten is the event that a Sorter puts in front of a message; see AddSince. It is in no other process.
const configWritten tenant.EventType = "config_written"

// apply applies one event. After a change of tenants it only sets when the cached entries expire. A tenant is read
// again (see read in shard.go) when its next message comes, so that a change of all tenants costs no more reads than
// there is traffic. The windows of a changed tenant may stay: a changed limit ends a block by itself (see Reject in
// limiter/window.go).
func (s *shard[M]) apply(e *tenant.Event) {
	switch e.Type {
	case tenant.TenantChanged:
		if entry, ok := s.cache.Peek(e.TargetID); ok {
			entry.expires = time.Time{}
		}
	case tenant.AccountChanged:
		for _, entry := range s.cache.Values() {
			if entry.tenant != nil && entry.tenant.Account != nil && entry.tenant.Account.ID == e.TargetID {
				entry.expires = time.Time{}
			}
		}
	case configWritten:
		if entry, ok := s.cache.Peek(e.TargetID); ok && e.At.UnixMilli() > entry.since {
			entry.since, entry.expires = e.At.UnixMilli(), time.Time{}
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

// reset drops the windows of a community, or of an account. Several tenant keys can belong to one community, and several
// communities to one account, so every shard looks for their entries.
func (s *shard[M]) reset(e *tenant.Event) {
	limitID, actions, ok := e.Reset()
	if !ok {
		return
	}
	for _, entry := range s.cache.Values() {
		if entry.tenant == nil {
			continue
		}
		for _, a := range actions {
			if entry.tenant.LimitID(a) == limitID {
				entry.windows[a] = nil
			}
		}
	}
	if !slices.Contains(actions, tenant.UserCommand) {
		return
	}
	for _, key := range s.users.Keys() {
		if key.community == limitID {
			s.users.Remove(key)
		}
	}
}

// forgetLocal makes this process's limiter forget actions that another process has reset.
func forgetLocal(l *limiter.Limiter, limitID string, actions []tenant.Action) {
	for _, a := range actions {
		if a == tenant.UserCommand {
			l.ForgetLocalPrefix(UserKey(limitID, ""))
		} else {
			l.ForgetLocal(Key(limitID, a))
		}
	}
}
