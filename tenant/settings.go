package tenant

import (
	"cmp"
	"time"
)

// Source says which document decided a setting.
type Source string

// The sources, each of which overrides those before it; but an account's tier overrides all others.
const (
	FromDefault     Source = "default"     // arrakis itself, which has defaults for each tier
	FromTiers       Source = "tiers"       // the document of all tiers
	FromEntitlement Source = "entitlement" // what was bought on Discord; only a tier comes from it
	FromAccount     Source = "account"     // the account that the tenant's config names
	FromTenant      Source = "tenant"      // the tenant's config
	FromBoost       Source = "boost"       // a boost of the tenant's config, while it lasts
)

// Setting is a value in force, and the document that decided it.
type Setting[T any] struct {
	Value  T      `json:"value"`
	Source Source `json:"source"`
	// Beneath are the values that were overridden, the nearest first. Only [Explain] sets it.
	Beneath []Beneath[T] `json:"beneath,omitempty"`
}

// Beneath is a value that another document overrides.
type Beneath[T any] struct {
	Value  T      `json:"value"`
	Source Source `json:"source"`
}

// Override puts another value on top.
func (s *Setting[T]) Override(value T, source Source) {
	s.Beneath = append([]Beneath[T]{{s.Value, s.Source}}, s.Beneath...)
	s.Value, s.Source = value, source
}

// settings are all that documents can set, resolved in the order of the sources. It is the one place where documents
// are put together: [Resolve] takes the values from it, and [Explain] also where they come from.
type settings struct {
	explained bool // the overridden values are kept

	tier       Setting[Tier]
	bought     *Bought                    // the entitlement that gives a tier, also if it is overridden; nil: none does
	features   [numFeatures]Setting[bool] // in the order of the constants
	max        [NumActions]Setting[int64]
	onLimit    [SyncRequest + 1]Setting[OnLimit]
	maxDelayed Setting[int64]
	mode       Setting[Mode]
	weight     Setting[int64]
}

// layer is what one document says. Fields of a layer may be nil.
type layer struct {
	source     Source
	features   *FeatureOverrides
	limits     *LimitOverrides
	onLimit    *OnLimitOverrides
	maxDelayed *int64
	mode       *Mode
	weight     *int64
}

func (o *TierOverrides) layer() layer {
	return layer{FromTiers, &o.Features, &o.RateLimits, &o.OnLimit, o.MaxDelayed, o.Mode, o.Weight}
}

func (a *Account) layer() layer {
	return layer{FromAccount, &a.Features, &a.RateLimits, &a.OnLimit, a.MaxDelayed, a.Mode, a.Weight}
}

func (c *Config) layer() layer {
	return layer{FromTenant, &c.Features, &c.RateLimits, &c.OnLimit, c.MaxDelayed, c.Mode, c.Weight}
}

// layers are what the documents say on top of the defaults, in order.
type layers [3]layer

// resolve sets the settings of a tenant with the documents d, of which only the account may be missing.
func (s *settings) resolve(d *Documents, now time.Time) {
	s.resolveTier(d, now)
	defaults, overrides := d.Tiers.of(s.tier.Value)
	s.begin(defaults)
	layers := layers{overrides.layer(), cmp.Or(d.Account, noAccount).layer(), d.Config.layer()}
	for i := range layers {
		s.apply(&layers[i])
	}
	s.weigh(defaults, &layers)
}

// resolveTier sets the tier: that of the account, or else that of the entitlements, unless it was set by hand.
func (s *settings) resolveTier(d *Documents, now time.Time) {
	s.tier = Setting[Tier]{Value: Free, Source: FromDefault}
	c := d.Config
	byHand := c.TierFrom != FromEntitlement && c != noConfig
	if !byHand && d.Account == nil || s.explained {
		if s.bought = c.bought(d.Tiers, now); s.bought != nil {
			set(s, &s.tier, &s.bought.Tier, FromEntitlement)
		}
	}
	if byHand {
		set(s, &s.tier, &c.Tier, FromTenant)
	}
	if d.Account != nil {
		set(s, &s.tier, &d.Account.Tier, FromAccount)
	}
}

// begin sets the defaults of a tier.
func (s *settings) begin(d *tierDefaults) {
	for i := range s.features {
		s.features[i] = Setting[bool]{Value: d.features&(1<<i) != 0, Source: FromDefault}
	}
	for action, limit := range d.max {
		s.max[action] = Setting[int64]{Value: limit, Source: FromDefault}
	}
	for action := range s.onLimit {
		s.onLimit[action] = Setting[OnLimit]{Value: Reject, Source: FromDefault}
	}
	s.maxDelayed = Setting[int64]{Value: defaultMaxDelayed, Source: FromDefault}
	s.mode = Setting[Mode]{Value: Enforce, Source: FromDefault}
	s.weight = Setting[int64]{Value: d.weight, Source: FromDefault}
}

// apply puts a document on top, but not its weight.
func (s *settings) apply(l *layer) {
	for i, on := range l.features.fields() {
		set(s, &s.features[i], on, l.source)
	}
	for action, limit := range l.limits.fields() {
		set(s, &s.max[action], *limit, l.source)
	}
	for action, policy := range l.onLimit.fields() {
		set(s, &s.onLimit[action], *policy, l.source)
	}
	set(s, &s.maxDelayed, l.maxDelayed, l.source)
	set(s, &s.mode, l.mode, l.source)
}

// weigh sets the weight, when the features are known. The default of the tier counts twice for a tenant that has priority
// support although its tier does not have it by default. (The 4 of enterprise counts it already.)
func (s *settings) weigh(d *tierDefaults, layers *layers) {
	if priority := &s.features[prioritySupport]; priority.Value && d.features&PrioritySupport == 0 {
		doubled := 2 * d.weight
		set(s, &s.weight, &doubled, priority.Source)
	}
	for i := range layers {
		set(s, &s.weight, layers[i].weight, layers[i].source)
	}
}

// set puts a value on top of a setting, unless the value is nil.
func set[T any](s *settings, setting *Setting[T], value *T, source Source) {
	switch {
	case value == nil:
	case s.explained:
		setting.Override(*value, source)
	default:
		setting.Value, setting.Source = *value, source
	}
}

// tenant makes the tenant of messages that carry id.
func (s *settings) tenant(id string, d *Documents) *Tenant {
	c := d.Config
	t := &Tenant{
		ID: cmp.Or(c.CommunityID, id), GuildID: c.GuildID, Tier: s.tier.Value, Boosts: c.Boosts.boosts(),
		Shadow: s.mode.Value == Shadow, Weight: int(s.weight.Value),
	}
	if len(c.Texts) > 0 {
		t.Texts = c.Texts
	}
	if c.Account != "" {
		t.Account = &Membership{ID: c.Account}
		if a := d.Account; a != nil {
			t.Account.Name, t.Account.Counted = a.Name, cmp.Or(a.Counted, Each)
		}
	}
	if !c.UpdatedAt.IsZero() {
		t.UpdatedMS = c.UpdatedAt.UnixMilli()
	}
	if s.tier.Source == FromEntitlement && !s.bought.EndsAt.IsZero() {
		t.TierEndsMS = s.bought.EndsAt.UnixMilli()
	}
	for i := range s.features {
		if s.features[i].Value {
			t.Features |= 1 << i
		}
	}
	for action := range s.max {
		t.Max[action] = s.max[action].Value
	}
	for action := range s.onLimit {
		if s.onLimit[action].Value == Delay {
			t.MaxDelayed[action] = s.maxDelayed.Value
		}
	}
	return t
}
