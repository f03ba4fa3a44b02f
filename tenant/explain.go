package tenant

import "time"

// Explanation says what is in force for a tenant, and which document decided it.
type Explanation struct {
	Tenant *Tenant // as Resolve returns it

	Tier   Setting[Tier] // FromTenant: it was set by hand
	Bought *Bought       // the entitlement that gives a tier, also if another is in force; nil: none does

	Features   []Feature                         // all features, in the order of the contract
	Max        [NumActions]Setting[int64]        // of the limits, without boosts
	OnLimit    [SyncRequest + 1]Setting[OnLimit] // by action
	MaxDelayed Setting[int64]                    // of each action that delays
	Mode       Setting[Mode]
	Weight     Setting[int64]
	Flags      []FlagDecision // all flags, sorted by ID
}

// Feature is a feature of the contract, on or off.
type Feature struct {
	Name string `json:"name"`
	Setting[bool]
}

// Explain is [Resolve] that also says where everything comes from, and evaluates the flags.
func Explain(id string, d Documents, flags *Flags, now time.Time) Explanation {
	s := settings{explained: true}
	t := s.of(id, d, now)
	e := Explanation{
		Tenant: t, Tier: s.tier, Bought: s.bought, Max: s.max, OnLimit: s.onLimit, MaxDelayed: s.maxDelayed, Mode: s.mode, Weight: s.weight,
		Flags: flags.decide(t),
	}
	for i, setting := range s.features {
		e.Features = append(e.Features, Feature{featureNames[i], setting})
	}
	return e
}
