package store

import (
	"github.com/go-json-experiment/json/jsontext"

	"arrakis/tenant"
)

// A document that replaces a stored one takes over the members of other
// writers, which its author cannot know of, unless it brings its own.

func inheritConfig(c, was *tenant.Config) {
	if c.CreatedAt.IsZero() {
		c.CreatedAt = was.CreatedAt
	}
	keep(&c.Unknown, was.Unknown)
	keep(&c.Features.Unknown, was.Features.Unknown)
	keep(&c.RateLimits.Unknown, was.RateLimits.Unknown)
}

func inheritTiers(c, was *tenant.Tiers) {
	keep(&c.Unknown, was.Unknown)
	inheritTier(&c.Free, &was.Free)
	inheritTier(&c.Pro, &was.Pro)
	inheritTier(&c.Enterprise, &was.Enterprise)
}

func inheritTier(o, was *tenant.TierOverrides) {
	keep(&o.Unknown, was.Unknown)
	keep(&o.Features.Unknown, was.Features.Unknown)
	keep(&o.RateLimits.Unknown, was.RateLimits.Unknown)
}

func keep(p *jsontext.Value, was jsontext.Value) {
	if *p == nil {
		*p = was
	}
}
