package tenant

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"github.com/go-json-experiment/json/jsontext"
)

const (
	// maxEntitlements is how many entitlements a config has at most.
	maxEntitlements = 20
	// endedKept is for how long an entitlement that has ended is kept. Until then, a late event cannot revive it.
	endedKept = 30 * 24 * time.Hour
)

// Entitlement says what Discord has said last of an entitlement: that somebody has bought a SKU for the community. Its ID
// is its name in [Config.Entitlements].
type Entitlement struct {
	SKU string `json:"sku"` // ID of what was bought, see [Tiers.SKUs]
	// EndsAt is when it ends, or has ended; zero: it is not known to end.
	EndsAt time.Time `json:"endsAt,omitzero"`
	// Deleted says that Discord has taken it back, as after a refund. It stays so.
	Deleted bool `json:"deleted,omitzero"`
	// At is when Discord said so, by Discord's clock.
	At      time.Time      `json:"at,omitzero"`
	Unknown jsontext.Value `json:",embed"`
}

// Active reports whether the entitlement is in force at now.
func (e *Entitlement) Active(now time.Time) bool {
	return !e.Deleted && (e.EndsAt.IsZero() || e.EndsAt.After(now))
}

// compareEnd compares when entitlements end: one that does not ends last.
func (e *Entitlement) compareEnd(other *Entitlement) int {
	if e.EndsAt.IsZero() || other.EndsAt.IsZero() {
		return cmp.Compare(rank(e.EndsAt.IsZero()), rank(other.EndsAt.IsZero()))
	}
	return e.EndsAt.Compare(other.EndsAt)
}

// later returns what holds after both e and other were said of one entitlement: the later one, but that it is deleted
// holds for good. The order in which they are given does not matter, also if they were said at the same time.
func (e Entitlement) later(other Entitlement) Entitlement {
	order := cmp.Or(
		cmp.Compare(rank(e.Deleted), rank(other.Deleted)),
		e.At.Compare(other.At),
		e.compareEnd(&other),
		cmp.Compare(e.SKU, other.SKU),
	)
	if order < 0 {
		other.Unknown = e.Unknown
		return other
	}
	return e
}

func rank(b bool) int {
	if b {
		return 1
	}
	return 0
}

// Bought is an entitlement that gives a tier.
type Bought struct {
	ID string `json:"id"`
	Entitlement
	Tier Tier `json:"tier"`
}

// bought returns the entitlement of the config that gives the highest tier at now, and of these the one that ends last;
// nil: none gives one.
func (c *Config) bought(tiers *Tiers, now time.Time) *Bought {
	var best Bought
	found := false
	for id, e := range c.Entitlements {
		tier, mapped := tiers.SKUs[e.SKU]
		if !mapped || !e.Active(now) {
			continue
		}
		if !found || cmp.Or(cmp.Compare(tier.rank(), best.Tier.rank()), e.compareEnd(&best.Entitlement), cmp.Compare(id, best.ID)) > 0 {
			best, found = Bought{ID: id, Entitlement: e, Tier: tier}, true
		}
	}
	if !found {
		return nil
	}
	b := best // so that a tenant without entitlements allocates none
	return &b
}

// SetTier sets the tier to that of the entitlements at now, unless it was set by hand. A store does so at every write, for
// readers that know nothing of entitlements. [Resolve] does not go by it: an entitlement ends without a write.
func (c *Config) SetTier(tiers *Tiers, now time.Time) {
	if c.TierFrom != FromEntitlement {
		return
	}
	c.Tier = Free
	if b := c.bought(tiers, now); b != nil {
		c.Tier = b.Tier
	}
}

// pruned returns the entitlements without those that ended more than 30 days before now, and if these are too many still,
// without those that matter least: first what has ended, the earliest first, then the lowest tier. Of those that are as
// good as each other, the newest goes: so the same list of many, seen again, changes nothing.
func pruned(all map[string]Entitlement, tiers *Tiers, now time.Time) map[string]Entitlement {
	kept := maps.Clone(all)
	maps.DeleteFunc(kept, func(_ string, e Entitlement) bool {
		return !e.Active(now) && now.Sub(e.ended()) > endedKept
	})
	if len(kept) <= maxEntitlements {
		return kept
	}
	ids := slices.SortedFunc(maps.Keys(kept), func(i, j string) int {
		a, b := kept[i], kept[j]
		if !a.Active(now) && !b.Active(now) {
			return cmp.Or(a.ended().Compare(b.ended()), cmp.Compare(i, j))
		}
		return cmp.Or(
			cmp.Compare(rank(a.Active(now)), rank(b.Active(now))),
			cmp.Compare(tiers.SKUs[a.SKU].rank(), tiers.SKUs[b.SKU].rank()),
			b.At.Compare(a.At),
			cmp.Compare(i, j),
		)
	})
	for _, id := range ids[:len(ids)-maxEntitlements] {
		delete(kept, id)
	}
	return kept
}

// ended is when an entitlement that is not in force has ended.
func (e *Entitlement) ended() time.Time {
	if e.EndsAt.IsZero() || e.Deleted && e.At.Before(e.EndsAt) {
		return e.At
	}
	return e.EndsAt
}

func validateTierFrom(f *faults, field string, from Source) {
	if from != "" && from != FromEntitlement {
		f.add(field, "is unknown: %q; use %s, or leave it out for a tier that is set by hand", shorten(string(from)), FromEntitlement)
	}
}

func validateEntitlements(f *faults, field string, all map[string]Entitlement) {
	if len(all) > maxEntitlements {
		f.add(field, "has %d entitlements, at most %d are accepted", len(all), maxEntitlements)
	}
	for _, id := range slices.Sorted(maps.Keys(all)) {
		e, at := all[id], join(field, shorten(id))
		if !validSnowflake(id) {
			f.add(at, "is no entitlement: its ID %s", snowflakeRule)
		}
		if !validSnowflake(e.SKU) {
			f.add(join(at, "sku"), snowflakeRule)
		}
		if e.At.IsZero() || !writable(e.At) {
			f.add(join(at, "at"), timeRule)
		}
		if !writable(e.EndsAt) {
			f.add(join(at, "endsAt"), timeRule)
		}
	}
}
