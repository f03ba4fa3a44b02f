package tenant

import "github.com/go-json-experiment/json/jsontext"

// TierDefaults are the features and limits of a tier.
type TierDefaults struct {
	Features Features
	Max      [NumActions]int64 // admissions in a window by action; -1 is unlimited, 0 is none
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

// Tiers are the defaults of the three tiers. They are immutable and may be
// shared by goroutines.
type Tiers struct {
	free, pro, enterprise TierDefaults
}

var defaultTiers = Tiers{
	free: TierDefaults{Max: [NumActions]int64{10, 100, 1, -1}},
	pro: TierDefaults{
		Max:      [NumActions]int64{100, 1000, 10, -1},
		Features: CustomBranding | AdvancedAnalytics,
	},
	enterprise: TierDefaults{
		Max:      [NumActions]int64{-1, -1, -1, -1},
		Features: CustomBranding | AdvancedAnalytics | PrioritySupport | UnlimitedCommands,
	},
}

// DefaultTiers are the tiers where no global config overrides them.
func DefaultTiers() *Tiers { return &defaultTiers }

// Of returns the defaults of a tier. A value that is no tier has those of
// Free.
func (t *Tiers) Of(tier Tier) TierDefaults {
	switch tier {
	case Enterprise:
		return t.enterprise
	case Pro:
		return t.pro
	case Free:
	}
	return t.free
}

// TiersConfig is the global document that overrides the defaults of tiers;
// what it leaves out stays as in [DefaultTiers].
type TiersConfig struct {
	Free       TierOverrides  `json:"free"`
	Pro        TierOverrides  `json:"pro"`
	Enterprise TierOverrides  `json:"enterprise"`
	Unknown    jsontext.Value `json:",embed"` // members of other writers, kept by every write
}

// TierOverrides replace defaults of one tier.
type TierOverrides struct {
	Features   FeatureOverrides `json:"features"`
	RateLimits LimitOverrides   `json:"rateLimits"`
	Unknown    jsontext.Value   `json:",embed"`
}

// ParseTiers reads a global document that a user gives, as strictly as
// [ParseConfig].
func ParseTiers(data []byte) (TiersConfig, error) {
	return readTiers(&reader{strict: true}, data)
}

func parseStoredTiers(data []byte) (TiersConfig, error) {
	return readTiers(&reader{}, data)
}

// Tiers resolves the document against the defaults.
func (c *TiersConfig) Tiers() *Tiers {
	d := DefaultTiers()
	return &Tiers{
		free:       d.free.with(&c.Free.Features, &c.Free.RateLimits),
		pro:        d.pro.with(&c.Pro.Features, &c.Pro.RateLimits),
		enterprise: d.enterprise.with(&c.Enterprise.Features, &c.Enterprise.RateLimits),
	}
}

// Validate reports what a store would refuse, as [ParseTiers] does.
func (c *TiersConfig) Validate() error {
	var f faults
	c.validate(&f)
	return f.err()
}

func (c *TiersConfig) validate(f *faults) {
	c.Free.RateLimits.validate(f, "free.rateLimits")
	c.Pro.RateLimits.validate(f, "pro.rateLimits")
	c.Enterprise.RateLimits.validate(f, "enterprise.rateLimits")
}

func readTiers(r *reader, data []byte) (TiersConfig, error) {
	var c TiersConfig
	if r.check(data) {
		c.Unknown = r.object("", data, []member{
			{string(Free), func(field string, raw jsontext.Value) { c.Free.read(r, field, raw) }},
			{string(Pro), func(field string, raw jsontext.Value) { c.Pro.read(r, field, raw) }},
			{string(Enterprise), func(field string, raw jsontext.Value) { c.Enterprise.read(r, field, raw) }},
		})
		c.validate(&r.faults)
	}
	if err := r.err(); err != nil {
		return TiersConfig{}, err
	}
	return c, nil
}

func (o *TierOverrides) read(r *reader, field string, raw jsontext.Value) {
	if raw.Kind() == 'n' {
		return
	}
	o.Unknown = r.object(field, raw, []member{
		{"features", func(field string, raw jsontext.Value) { o.Features.read(r, field, raw) }},
		{"rateLimits", func(field string, raw jsontext.Value) { o.RateLimits.read(r, field, raw) }},
	})
}
