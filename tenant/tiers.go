package tenant

import "github.com/go-json-experiment/json/jsontext"

// TierDefaults are the features and limits of a tier.
type TierDefaults struct {
	Features Features
	Max      [NumActions]int64 // admissions in a window by action; -1 is unlimited, 0 is none
	// Delay says which actions delay messages over the limit, and MaxDelayed how many of each; 0 is 100.
	Delay      [NumActions]bool
	MaxDelayed int64
	Shadow     bool // limits are not enforced, see Tenant.Shadow
	Weight     int  // share of handler time, see Tenant.Weight
}

func (d TierDefaults) with(f *FeatureOverrides, l *LimitOverrides) TierDefaults {
	d.Features = d.Features.
		with(CustomBranding, f.CustomBranding).
		with(AdvancedAnalytics, f.AdvancedAnalytics).
		with(PrioritySupport, f.PrioritySupport).
		with(UnlimitedCommands, f.UnlimitedCommands)
	for action, limit := range l.fields() {
		if *limit != nil {
			d.Max[action] = **limit
		}
	}
	return d
}

// The defaults of the contract.
var (
	freeDefaults = TierDefaults{Max: [NumActions]int64{10, 100, 1, -1}, Weight: 1}
	proDefaults  = TierDefaults{
		Max:      [NumActions]int64{100, 1000, 10, -1},
		Features: CustomBranding | AdvancedAnalytics,
		Weight:   2,
	}
	enterpriseDefaults = TierDefaults{
		Max:      [NumActions]int64{-1, -1, -1, -1},
		Features: CustomBranding | AdvancedAnalytics | PrioritySupport | UnlimitedCommands,
		Weight:   4,
	}
)

// Tiers is the global document that overrides the contract's defaults of the three tiers. The zero value overrides
// nothing.
type Tiers struct {
	Free       TierOverrides  `json:"free"`
	Pro        TierOverrides  `json:"pro"`
	Enterprise TierOverrides  `json:"enterprise"`
	Unknown    jsontext.Value `json:",embed"` // members that arrakis does not know, as in Config
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

// Of returns the defaults of a tier. An unknown tier has the defaults of Free.
func (t *Tiers) Of(tier Tier) TierDefaults {
	builtin, o := t.of(tier)
	d := builtin.with(&o.Features, &o.RateLimits).withDelay(&o.OnLimit, o.MaxDelayed).withMode(o.Mode)
	d.Weight = t.weight(tier, d.Features, nil)
	return d
}

// of returns the defaults of the contract and what the document overrides.
func (t *Tiers) of(tier Tier) (builtin *TierDefaults, o *TierOverrides) {
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
}

func (o *TierOverrides) validate(f *faults, field string) {
	o.RateLimits.validate(f, join(field, "rateLimits"))
	o.OnLimit.validate(f, join(field, "onLimit"))
	validateMaxDelayed(f, join(field, "maxDelayed"), o.MaxDelayed)
	validateMode(f, join(field, "mode"), o.Mode)
	validateWeight(f, join(field, "weight"), o.Weight)
}
