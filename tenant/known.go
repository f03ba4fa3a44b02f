package tenant

import "maps"

// Known returns a copy of the config without the members of other writers. They are not shown: a strict parser would
// refuse them, and nobody here knows what they hold.
func (c *Config) Known() *Config {
	known := *c
	known.Unknown, known.Features.Unknown, known.RateLimits.Unknown, known.OnLimit.Unknown = nil, nil, nil, nil
	boosts := c.Boosts.clone()
	boosts.Unknown = nil
	for _, b := range boosts.Fields() {
		b.Unknown = nil
	}
	known.setBoosts(boosts)
	known.Entitlements = maps.Clone(c.Entitlements)
	for id, e := range known.Entitlements {
		e.Unknown = nil
		known.Entitlements[id] = e
	}
	return &known
}

// Known returns a copy of the account without the members of other writers.
func (a *Account) Known() *Account {
	known := *a
	known.Unknown, known.Features.Unknown, known.RateLimits.Unknown, known.OnLimit.Unknown = nil, nil, nil, nil
	return &known
}

// Known returns a copy of the flag without the members of other writers.
func (f *Flag) Known() *Flag {
	known := *f
	known.Unknown, known.Communities.Unknown = nil, nil
	return &known
}

// Known returns a copy of the overrides without the members of other writers.
func (t *Tiers) Known() *Tiers {
	known := *t
	known.Unknown = nil
	for _, o := range []*TierOverrides{&known.Free, &known.Pro, &known.Enterprise} {
		o.Unknown, o.Features.Unknown, o.RateLimits.Unknown, o.OnLimit.Unknown = nil, nil, nil, nil
	}
	return &known
}
