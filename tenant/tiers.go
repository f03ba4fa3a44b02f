package tenant

import (
	"time"

	"github.com/go-json-experiment/json/jsontext"
)

// TierDefaults are what a tenant of a tier, or of an account, has if its config sets nothing.
type TierDefaults struct {
	Features Features
	Max      [NumActions]int64 // admissions in a window by action; -1 is unlimited, 0 is none
	// Delay says which actions delay messages over the limit, and MaxDelayed how many of each.
	Delay      [NumActions]bool
	MaxDelayed int64
	Shadow     bool // limits are not enforced, see Tenant.Shadow
	Weight     int  // share of handler time, see Tenant.Weight
}

// Of returns the defaults of a tier. An unknown tier has the defaults of Free.
func (t *Tiers) Of(tier Tier) TierDefaults {
	return defaultsOf(Documents{Config: &Config{Tier: tier}, Tiers: t})
}

// In returns what a community in the account has if its config sets nothing.
func (t *Tiers) In(a *Account) TierDefaults {
	member := &Config{Tier: Free, Account: "any"} // its ID does not matter
	return defaultsOf(Documents{Config: member, Account: a, Tiers: t})
}

func defaultsOf(d Documents) TierDefaults {
	var s settings
	resolved := s.of("", d, time.Time{})
	defaults := TierDefaults{
		Features: resolved.Features, Max: resolved.Max, MaxDelayed: s.maxDelayed.Value, Shadow: resolved.Shadow, Weight: resolved.Weight,
	}
	for action, n := range resolved.MaxDelayed {
		defaults.Delay[action] = n > 0
	}
	return defaults
}

// tierDefaults are the defaults of the contract for a tier.
type tierDefaults struct {
	features Features
	max      [NumActions]int64 // admissions in a window by action; -1 is unlimited, 0 is none
	weight   int64             // share of handler time, see Tenant.Weight
}

var (
	freeDefaults = tierDefaults{max: [NumActions]int64{10, 100, 1, -1}, weight: 1}
	proDefaults  = tierDefaults{
		max:      [NumActions]int64{100, 1000, 10, -1},
		features: CustomBranding | AdvancedAnalytics,
		weight:   2,
	}
	enterpriseDefaults = tierDefaults{
		max:      [NumActions]int64{-1, -1, -1, -1},
		features: CustomBranding | AdvancedAnalytics | PrioritySupport | UnlimitedCommands,
		weight:   4,
	}
)

// Tiers is the global document that overrides the contract's defaults of the three tiers. The zero value overrides
// nothing.
type Tiers struct {
	Free       TierOverrides `json:"free"`
	Pro        TierOverrides `json:"pro"`
	Enterprise TierOverrides `json:"enterprise"`
	// SKUs say which tier a community has that has bought one, by the SKU's ID: 1 to 20 digits, as Discord shows it. At most
	// 100. nil says nothing: a write of a store keeps those that are stored.
	SKUs    map[string]Tier `json:"skus,omitempty"`
	Unknown jsontext.Value  `json:",embed"` // members that arrakis does not know, as in Config
}

// TierOverrides override the defaults of one tier.
type TierOverrides struct {
	Features   FeatureOverrides `json:"features"`
	RateLimits LimitOverrides   `json:"rateLimits"`
	OnLimit    OnLimitOverrides `json:"onLimit,omitzero"`     // as in Config
	MaxDelayed *int64           `json:"maxDelayed,omitempty"` // as in Config
	Mode       *Mode            `json:"mode,omitempty"`       // as in Config
	Weight     *int64           `json:"weight,omitempty"`     // of the tenants that have none of their own
	Unknown    jsontext.Value   `json:",embed"`
}

// of returns the defaults of the contract and what the document overrides. An unknown tier has those of Free.
func (t *Tiers) of(tier Tier) (defaults *tierDefaults, o *TierOverrides) {
	switch tier {
	case Enterprise:
		return &enterpriseDefaults, &t.Enterprise
	case Pro:
		return &proDefaults, &t.Pro
	case Free:
	}
	return &freeDefaults, &t.Free
}

// ParseTiers reads a tiers document that a user gives, as strictly as
// [ParseConfig].
func ParseTiers(data []byte) (Tiers, error) { return parse[Tiers](data, true) }

// Validate reports the faults for which a store refuses the document. The error is as for [ParseTiers].
func (t *Tiers) Validate() error { return validate(t) }

func (t *Tiers) validate(f *faults) {
	t.Free.validate(f, "free")
	t.Pro.validate(f, "pro")
	t.Enterprise.validate(f, "enterprise")
	validateSKUs(f, "skus", t.SKUs)
}

func (o *TierOverrides) validate(f *faults, field string) {
	o.RateLimits.validate(f, join(field, "rateLimits"))
	o.OnLimit.validate(f, join(field, "onLimit"))
	validateMaxDelayed(f, join(field, "maxDelayed"), o.MaxDelayed)
	validateMode(f, join(field, "mode"), o.Mode)
	validateWeight(f, join(field, "weight"), o.Weight)
}
