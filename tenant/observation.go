package tenant

import (
	"maps"
	"time"
)

// Observation is what Discord says of a community's entitlements at a time. It comes from outside: what cannot be an
// entitlement is ignored.
type Observation struct {
	// At is when Discord said it, by Discord's clock; zero is no observation. Observations may come in any order.
	At time.Time
	// Seen are entitlements of the community, by ID.
	Seen map[string]Seen
	// Complete says that Seen are all that are in force, as in an interaction: others have ended by At. Otherwise it is one
	// event, and says nothing of others.
	Complete bool
}

// Seen is an entitlement as Discord shows it.
type Seen struct {
	SKU     string
	EndsAt  time.Time // zero: it is not known to end
	Deleted bool      // it was taken back
}

// Apply says what a config becomes: with the entitlements that were observed, and the tier that they give. c is the config
// that is stored, which is not changed, or nil for none. It returns nil if the observation changes nothing; so whoever
// applies it again gets nil.
//
//   - Of each entitlement, the latest word counts, and that it was deleted counts for good. So events lead to the same
//     config, in whatever order they come.
//   - A complete observation that says what is stored already changes nothing, not even the time of the last word: it comes
//     with every interaction, and a write for each would be too many. An older event that comes after it can therefore
//     change the config until the next interaction.
//   - A SKU that gives no tier is not recorded.
//   - A tier that was set by hand stays; the entitlements are recorded all the same.
//   - Entitlements that have ended are dropped after 30 days, or when there are more than 20.
func (o *Observation) Apply(c *Config, tiers *Tiers, now time.Time) *Config {
	if o.At.IsZero() {
		return nil
	}
	var known map[string]Entitlement
	if c != nil {
		known = c.Entitlements
	}
	merged := maps.Clone(known)
	for id, seen := range o.Seen {
		if !validSnowflake(id) || !validSnowflake(seen.SKU) {
			continue
		}
		said := Entitlement{SKU: seen.SKU, EndsAt: seen.EndsAt.UTC(), Deleted: seen.Deleted, At: o.At.UTC()}
		e, was := known[id]
		_, gives := tiers.SKUs[seen.SKU]
		switch {
		case was && o.Complete && e.says(&said):
			continue
		case was:
			e = e.later(said)
		case !gives || o.Complete && !said.Active(o.At):
			continue
		default:
			e = said
		}
		if merged == nil {
			merged = make(map[string]Entitlement)
		}
		merged[id] = e
	}
	if o.Complete {
		o.end(merged, now)
	}
	if same(known, merged) {
		return nil
	}
	if merged = pruned(merged, tiers, now); same(known, merged) {
		return nil
	}
	next := Config{Tier: Free, TierFrom: FromEntitlement}
	if c != nil {
		next = *c
	}
	next.Entitlements = merged
	next.SetTier(tiers, now)
	return &next
}

// end ends the entitlements that are in force and were not seen: at once, also if Discord's clock is ahead of ours.
func (o *Observation) end(all map[string]Entitlement, now time.Time) {
	ended := o.At
	if now.Before(ended) {
		ended = now
	}
	for id, e := range all {
		if _, seen := o.Seen[id]; seen || !e.Active(ended) {
			continue
		}
		all[id] = e.later(Entitlement{SKU: e.SKU, EndsAt: ended.UTC(), At: o.At.UTC()})
	}
}

// says reports whether e says of an entitlement what other says, whenever that was.
func (e *Entitlement) says(other *Entitlement) bool {
	return e.SKU == other.SKU && e.EndsAt.Equal(other.EndsAt) && e.Deleted == other.Deleted
}

// same reports whether the entitlements are the same, and were last heard of at the same times.
func same(a, b map[string]Entitlement) bool {
	return maps.EqualFunc(a, b, func(x, y Entitlement) bool { return x.says(&y) && x.At.Equal(y.At) })
}
