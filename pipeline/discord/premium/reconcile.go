package premium

import (
	"cmp"
	"context"
	"errors"
	"iter"
	"maps"
	"slices"
	"time"

	"arrakis/pipeline/discord"
	"arrakis/tenant"
	"arrakis/tenant/store"
)

// Kind says what differs between Discord and the store.
type Kind string

// The kinds. The last two are not mended.
const (
	Missing  Kind = "missing"  // Discord lists an entitlement that the store does not know, or knows as ended
	Ended    Kind = "ended"    // Discord does not list an entitlement that is in force in the store
	Changed  Kind = "changed"  // both have it, with different ends
	Held     Kind = "held"     // a lower tier than the one that was bought counts: it was set by hand, or is that of the account
	Unusable Kind = "unusable" // the config cannot be used
)

// Difference is one between what Discord lists and what the store has.
type Difference struct {
	Community   string      `json:"community"`
	Kind        Kind        `json:"difference"`
	Entitlement string      `json:"entitlement,omitempty"`
	SKU         string      `json:"sku,omitempty"`
	Tier        tenant.Tier `json:"tier,omitempty"` // that the SKU gives
}

// mendable reports whether the store can take it over from Discord.
func (d *Difference) mendable() bool { return d.Kind != Held && d.Kind != Unusable }

// Report is the result of [Reconcile].
type Report struct {
	Communities int          `json:"communities"` // that were compared: they have entitlements, here or there
	Differences []Difference `json:"differences"` // by community
	Mended      int          `json:"mended"`      // how many of the differences there are no more
	// Unmapped is how many entitlements Discord lists of each SKU that gives no tier.
	Unmapped map[string]int `json:"unmapped"`
}

// Left is how many differences somebody has to look at: those that are not mended. A tier that is held is held on purpose.
func (r *Report) Left() int {
	left := -r.Mended
	for i := range r.Differences {
		if r.Differences[i].Kind != Held {
			left++
		}
	}
	return left
}

// Reconcile compares the entitlements that Discord lists as in force with those in the store, by the SKUs that are in force
// in the store. With mend, what Discord lists goes to the store, as an interaction at now would bring it; so what the store
// has learned later stays. An error is the list's, the store's or ctx's; what was mended before it stays so.
func Reconcile(ctx context.Context, tenants *store.Store, list iter.Seq2[discord.Entitlement, error], now time.Time, mend bool) (Report, error) {
	c := comparison{
		tenants: tenants, tiers: tenants.Tiers(), now: now, listed: make(map[string]map[string]tenant.Seen),
		found:  make(map[string][]Difference),
		report: Report{Differences: []Difference{}, Unmapped: map[string]int{}},
	}
	if err := errors.Join(c.read(list), ctx.Err()); err != nil {
		return c.report, err
	}
	if err := c.compareAll(ctx); err != nil {
		return c.report, err
	}
	for _, community := range slices.Sorted(maps.Keys(c.found)) {
		c.report.Differences = append(c.report.Differences, c.found[community]...)
		if !mend {
			continue
		}
		if err := c.mend(ctx, community); err != nil {
			return c.report, err
		}
	}
	return c.report, nil
}

// comparison is one Reconcile.
type comparison struct {
	tenants *store.Store
	tiers   *tenant.Tiers
	now     time.Time

	listed map[string]map[string]tenant.Seen // by community and entitlement
	found  map[string][]Difference           // by community
	report Report
}

// read takes in what Discord lists.
func (c *comparison) read(list iter.Seq2[discord.Entitlement, error]) error {
	for e, err := range list {
		if err != nil {
			return err
		}
		community, seen := e.Community(), seenOf(&e)
		if community == "" || seen.Deleted || e.StartsAt.After(c.now) {
			continue
		}
		if _, gives := c.tiers.SKUs[e.SKU]; !gives {
			c.report.Unmapped[e.SKU]++
		}
		if c.listed[community] == nil {
			c.listed[community] = make(map[string]tenant.Seen)
		}
		c.listed[community][e.ID] = seen
	}
	return nil
}

// compareAll compares every community that has entitlements, here or there.
func (c *comparison) compareAll(ctx context.Context) error {
	compared := make(map[string]bool)
	add := func(community string, config *tenant.Config, differences []Difference) {
		if compared[community] || len(c.listed[community]) == 0 && (config == nil || len(config.Entitlements) == 0) {
			return
		}
		compared[community] = true
		if len(differences) > 0 {
			c.found[community] = differences
		}
	}
	for cursor, more := "", true; more; more = cursor != "" {
		page, err := c.tenants.List(ctx, store.ListOptions{Cursor: cursor, Limit: store.MaxListLimit})
		if err != nil {
			return err
		}
		for i := range page.Entries {
			e := &page.Entries[i]
			if e.Err != nil {
				add(e.ID, nil, []Difference{{Community: e.ID, Kind: Unusable}})
			} else {
				add(e.ID, &e.Config, c.compare(e.ID, &e.Config, e.Account))
			}
		}
		cursor = page.Cursor
	}
	for community := range c.listed {
		if !compared[community] {
			add(community, nil, c.compare(community, new(tenant.Config{TierFrom: tenant.FromEntitlement}), nil))
		}
	}
	c.report.Communities = len(compared)
	return nil
}

// compare compares one community, with its account, which may be nil.
func (c *comparison) compare(community string, config *tenant.Config, account *tenant.Account) []Difference {
	var differences []Difference
	add := func(kind Kind, id, sku string) {
		differences = append(differences, Difference{community, kind, id, sku, c.tiers.SKUs[sku]})
	}
	held := func(bought tenant.Tier) bool {
		if account != nil {
			return bought.Above(account.Tier)
		}
		return config.TierFrom == "" && bought.Above(config.Tier)
	}
	listed := c.listed[community]
	for id, seen := range listed {
		e, known := config.Entitlements[id]
		_, gives := c.tiers.SKUs[seen.SKU]
		switch {
		case !gives || e.At.After(c.now):
		case !known || !e.Active(c.now):
			add(Missing, id, seen.SKU)
		case !e.EndsAt.Equal(seen.EndsAt):
			add(Changed, id, seen.SKU)
		}
		if gives && held(c.tiers.SKUs[seen.SKU]) {
			add(Held, id, seen.SKU)
		}
	}
	for id, e := range config.Entitlements {
		if _, there := listed[id]; !there && e.Active(c.now) && !e.At.After(c.now) {
			add(Ended, id, e.SKU)
		}
	}
	slices.SortFunc(differences, func(a, b Difference) int {
		return cmp.Or(cmp.Compare(a.Entitlement, b.Entitlement), cmp.Compare(b.Kind, a.Kind))
	})
	return differences
}

// mend applies what Discord lists of a community, and counts what that has mended.
func (c *comparison) mend(ctx context.Context, community string) error {
	was := countMendable(c.found[community])
	if was == 0 {
		return nil
	}
	o := tenant.Observation{At: c.now, Seen: c.listed[community], Complete: true}
	if _, _, err := c.tenants.Entitle(ctx, community, o); err != nil {
		return err
	}
	config, _, err := c.tenants.Get(ctx, community)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return err
	}
	c.report.Mended += was - countMendable(c.compare(community, &config, nil)) // what the account holds cannot be mended
	return nil
}

func countMendable(differences []Difference) (n int) {
	for i := range differences {
		if differences[i].mendable() {
			n++
		}
	}
	return n
}
