package tenant

import "github.com/go-json-experiment/json/jsontext"

// A document that replaces a stored one takes over the members of other
// writers, which its author cannot know of, unless it brings its own.

func (c *Config) inherit(was *Config) {
	if c.CreatedAt.IsZero() {
		c.CreatedAt = was.CreatedAt
	}
	keep(&c.Unknown, was.Unknown)
	keep(&c.Features.Unknown, was.Features.Unknown)
	keep(&c.RateLimits.Unknown, was.RateLimits.Unknown)
}

func (c *TiersConfig) inherit(was *TiersConfig) {
	keep(&c.Unknown, was.Unknown)
	c.Free.inherit(&was.Free)
	c.Pro.inherit(&was.Pro)
	c.Enterprise.inherit(&was.Enterprise)
}

func (o *TierOverrides) inherit(was *TierOverrides) {
	keep(&o.Unknown, was.Unknown)
	keep(&o.Features.Unknown, was.Features.Unknown)
	keep(&o.RateLimits.Unknown, was.RateLimits.Unknown)
}

func keep(p *jsontext.Value, was jsontext.Value) {
	if *p == nil {
		*p = was
	}
}
