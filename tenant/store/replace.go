package store

import (
	"maps"

	"github.com/go-json-experiment/json/jsontext"

	"arrakis/tenant"
)

// document is a document that a store keeps.
type document interface {
	tenant.Config | tenant.Account | tenant.Flag | tenant.Tiers
}

// replace makes the new document: next, with the members of other writers, which the author of next does not know.
// inherit copies these members. Nothing is copied from a stored document that cannot be used; replacing it repairs it.
func replace[T document](current Stored, next T, opts PutOptions, inherit func(next, was *T)) (T, error) {
	if err := opts.check(current); err != nil {
		return next, err
	}
	if was, err := tenant.ParseStored[T]([]byte(current.Text)); current.Exists() && err == nil {
		inherit(&next, &was)
	}
	return next, nil
}

func inheritConfig(next, was *tenant.Config) {
	if next.CreatedAt.IsZero() {
		next.CreatedAt = was.CreatedAt
	}
	keep(&next.Unknown, was.Unknown)
	keep(&next.Features.Unknown, was.Features.Unknown)
	keep(&next.RateLimits.Unknown, was.RateLimits.Unknown)
	keep(&next.OnLimit.Unknown, was.OnLimit.Unknown)
	inheritBoosts(next, was)
	inheritEntitlements(next, was)
}

func inheritEntitlements(next, was *tenant.Config) {
	if next.Entitlements == nil {
		next.Entitlements = was.Entitlements
		return
	}
	all := maps.Clone(next.Entitlements) // the author of next may use it
	for id, e := range all {
		keep(&e.Unknown, was.Entitlements[id].Unknown)
		all[id] = e
	}
	next.Entitlements = all
}

func inheritBoosts(next, was *tenant.Config) {
	if was.Boosts == nil {
		return
	}
	var boosts tenant.BoostOverrides
	if next.Boosts != nil {
		boosts = *next.Boosts
	}
	keep(&boosts.Unknown, was.Boosts.Unknown)
	stored := was.Boosts.Fields()
	for action, b := range boosts.Fields() {
		if b.Add != 0 {
			keep(&b.Unknown, stored[action].Unknown)
		}
	}
	next.Boosts = &boosts
}

func inheritTiers(next, was *tenant.Tiers) {
	keep(&next.Unknown, was.Unknown)
	inheritTier(&next.Free, &was.Free)
	inheritTier(&next.Pro, &was.Pro)
	inheritTier(&next.Enterprise, &was.Enterprise)
	if next.SKUs == nil {
		next.SKUs = was.SKUs
	}
}

func inheritTier(next, was *tenant.TierOverrides) {
	keep(&next.Unknown, was.Unknown)
	keep(&next.Features.Unknown, was.Features.Unknown)
	keep(&next.RateLimits.Unknown, was.RateLimits.Unknown)
	keep(&next.OnLimit.Unknown, was.OnLimit.Unknown)
}

func inheritFlag(next, was *tenant.Flag) {
	keep(&next.Unknown, was.Unknown)
	keep(&next.Communities.Unknown, was.Communities.Unknown)
}

// keep does not change p if the new document has unknown members itself.
func keep(p *jsontext.Value, was jsontext.Value) {
	if *p == nil {
		*p = was
	}
}
