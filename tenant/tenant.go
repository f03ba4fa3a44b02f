package tenant

import (
	"fmt"
	"time"
)

// maxID is the length in bytes of the longest valid ID.
const maxID = 128

// Tenant is a community's config resolved against the tiers. It is immutable and may be shared by goroutines; a change
// of the config makes a new Tenant.
type Tenant struct {
	// ID is the community for limits, metrics and handlers. It is the config's communityId, or the ID that messages
	// carry if there is none.
	ID      string
	GuildID string
	Tier    Tier
	Max     [NumActions]int64 // admissions in a window by action, without boosts; -1 is unlimited, 0 is none
	// Boosts are on top of Max while they last; nil: there are none.
	Boosts *[NumActions]Boost
	// MaxDelayed is how many messages over the limit of an action are delayed at a time; 0: they are rejected.
	MaxDelayed [NumActions]int64
	Features   Features
	// Shadow says that the limits are decided and counted, but not enforced: what they refuse passes all the same.
	Shadow bool
	Stored bool // a config is stored; otherwise the tenant is the free default
	// Weight is the tenant's share of handler time while several have messages that wait: one of weight 4 gets four
	// times as much as one of weight 1. It is at least 1.
	Weight int
	// UpdatedMS is when the config was written, in unix ms of Redis's clock; 0: it is not known, or there is no config.
	UpdatedMS int64
	// TierEndsMS is when the tier ends by itself, in unix ms of Discord's clock: from then on, the config must be resolved
	// again. 0: it does not.
	TierEndsMS int64
	// Texts replace texts that users of Discord see; nil, as most have it: none.
	Texts Texts
}

// Limit returns how many admissions of an action fit into its sliding window, without a boost: -1 is unlimited, 0 is
// none. The feature unlimitedCommands has no effect on limits; it is only a name for handlers.
func (t *Tenant) Limit(a Action) (limit int64, window time.Duration) {
	return t.Max[a], a.Window()
}

// Resolve makes the tenant of messages that carry id from the config c, which must be valid, as it is at now. If c is nil,
// the tenant is the free default.
func Resolve(id string, c *Config, tiers *Tiers, now time.Time) *Tenant {
	var s settings
	return s.of(id, c, tiers, now)
}

// noConfig is the config of a community that has none.
var noConfig = &Config{Tier: Free}

// of resolves the settings and makes the tenant, as Resolve.
func (s *settings) of(id string, c *Config, tiers *Tiers, now time.Time) *Tenant {
	stored := c != nil
	if !stored {
		c = noConfig
	}
	s.resolve(c, tiers, now)
	t := s.tenant(id, c)
	t.Stored = stored
	return t
}

// CheckID returns a [*FieldError] if id cannot be the ID of a community.
func CheckID(id string) error {
	if ValidID(id) {
		return nil
	}
	return &FieldError{
		Field:  "community",
		Reason: fmt.Sprintf("%.64q must be 1 to 128 letters, digits, '_', ':' or '-'", id),
	}
}

// ValidID reports whether s can be the ID of a community:
// [A-Za-z0-9_:-]{1,128}.
func ValidID(s string) bool {
	if s == "" || len(s) > maxID {
		return false
	}
	for i := range len(s) {
		c := s[i]
		letter := c|0x20 >= 'a' && c|0x20 <= 'z'
		digit := c >= '0' && c <= '9'
		if !letter && !digit && c != '_' && c != ':' && c != '-' {
			return false
		}
	}
	return true
}
