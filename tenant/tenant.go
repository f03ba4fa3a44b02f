package tenant

import (
	"fmt"
	"time"
)

// maxID is the length in bytes of the longest valid ID.
const maxID = 128

const idRule = "must be 1 to 128 letters, digits, '_', ':' or '-'"

// Tenant is a community's config resolved against the tiers. It is immutable and may be shared by goroutines; a change
// of the config makes a new Tenant.
type Tenant struct {
	// ID is the community for limits, metrics and handlers. It is the config's communityId, or the ID that messages
	// carry if there is none.
	ID      string
	GuildID string
	// Account is the account that the config names; nil, as most have it: none.
	Account *Membership
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

// LimitID is the ID under which the admissions of an action are counted: that of the community, or of the account whose
// communities are counted together.
func (t *Tenant) LimitID(a Action) string {
	if a != UserCommand && t.Account != nil && t.Account.Counted == Together {
		return AccountLimitID(t.Account.ID)
	}
	return t.ID
}

// Documents are the documents that say what one community may do. They must be valid.
type Documents struct {
	Config  *Config  // nil: none is stored, and the community has the free default
	Account *Account // that the config names; nil: it names none, or none is stored
	Tiers   *Tiers
}

// Resolve makes the tenant of messages that carry id, as it is at now.
func Resolve(id string, d Documents, now time.Time) *Tenant {
	var s settings
	return s.of(id, d, now)
}

// noConfig is the config of a community that has none.
var noConfig = &Config{Tier: Free}

// of resolves the settings and makes the tenant, as Resolve.
func (s *settings) of(id string, d Documents, now time.Time) *Tenant {
	stored := d.Config != nil
	if !stored {
		d.Config = noConfig
	}
	if d.Config.Account == "" {
		d.Account = nil
	}
	s.resolve(&d, now)
	t := s.tenant(id, &d)
	t.Stored = stored
	return t
}

// CheckID returns a [*FieldError] if id cannot be the ID of a community.
func CheckID(id string) error { return checkID("community", id) }

func checkID(field, id string) error {
	if ValidID(id) {
		return nil
	}
	return &FieldError{Field: field, Reason: fmt.Sprintf("%.64q %s", id, idRule)}
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
