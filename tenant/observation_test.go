package tenant_test

import (
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"arrakis/tenant"
)

// day is noon of a day in January.
func day(n int) time.Time { return noon.AddDate(0, 0, n-31) }

// event is a webhook event of one entitlement; interaction says which are in force.
func event(at time.Time, id string, seen tenant.Seen) tenant.Observation {
	return tenant.Observation{At: at, Seen: map[string]tenant.Seen{id: seen}}
}

func interaction(at time.Time, seen map[string]tenant.Seen) tenant.Observation {
	return tenant.Observation{At: at, Seen: seen, Complete: true}
}

func TestObservations(t *testing.T) {
	t.Parallel()
	const (
		byHand = `{"tier":"enterprise"}`
		nine   = `"9":{"sku":"1","at":"2026-01-05T12:00:00Z"}`
		ended  = `"9":{"sku":"1","endsAt":"2026-01-06T12:00:00Z","at":"2026-01-06T12:00:00Z"}`
		gone   = `"9":{"sku":"1","deleted":true,"at":"2026-01-04T12:00:00Z"}`
		far    = "2026-03-01T12:00:00Z"
	)
	bought := func(entitlements string) string {
		return `{"communityId":"","tier":"pro","tierFrom":"entitlement","features":{},"rateLimits":{},"entitlements":{` + entitlements + `}}`
	}
	free := func(entitlements string) string {
		return `{"communityId":"","tier":"free","tierFrom":"entitlement","features":{},"rateLimits":{},"entitlements":{` + entitlements + `}}`
	}
	pro, both := map[string]tenant.Seen{"9": {SKU: "1"}}, map[string]tenant.Seen{"9": {SKU: "1"}, "10": {SKU: "2", EndsAt: day(60)}}
	for _, tt := range []struct {
		name, config string
		seen         tenant.Observation
		want         string // "" is no change
	}{
		{"the first interaction of who bought", ``, interaction(day(5), pro), bought(nine)},
		{"the next", bought(nine), interaction(day(6), pro), ``},
		{"nobody has bought anything", ``, interaction(day(5), nil), ``},
		{"what gives no tier", ``, interaction(day(5), map[string]tenant.Seen{"9": {SKU: "77"}}), ``},
		{"what is no entitlement", ``, interaction(day(5), map[string]tenant.Seen{"x": {SKU: "1"}}), ``},
		{"it is not there any more", bought(nine), interaction(day(6), nil), free(ended)},
		{"the next after that", free(ended), interaction(day(7), nil), ``},
		{"it was not there yet", bought(nine), interaction(day(4), nil), ``},
		{"it is there again", free(ended), interaction(day(7), pro), bought(`"9":{"sku":"1","at":"2026-01-07T12:00:00Z"}`)},
		{"it was there before it ended", free(ended), interaction(day(5), pro), ``},
		{"it was there before it was taken back", free(gone), interaction(day(3), pro), ``},
		{"it was taken back, and is there", free(gone), interaction(day(5), pro), ``},
		{"a second, with an end", bought(nine), interaction(day(6), both), `{"communityId":"","tier":"enterprise","tierFrom":"entitlement","features":{},"rateLimits":{},"entitlements":{` +
			`"10":{"sku":"2","endsAt":"` + far + `","at":"2026-01-06T12:00:00Z"},` + nine + `}}`},
		{"the end becomes known", bought(nine), event(day(6), "9", tenant.Seen{SKU: "1", EndsAt: day(60)}), bought(`"9":{"sku":"1","endsAt":"` + far + `","at":"2026-01-06T12:00:00Z"}`)},
		{"an event of now that it has", bought(nine), event(day(6), "9", tenant.Seen{SKU: "1"}), bought(`"9":{"sku":"1","at":"2026-01-06T12:00:00Z"}`)},
		{"the same event again", bought(nine), event(day(5), "9", tenant.Seen{SKU: "1"}), ``},
		{"an older event", bought(nine), event(day(4), "9", tenant.Seen{SKU: "1", EndsAt: day(4)}), ``},
		{"an older event that it was taken back", bought(nine), event(day(4), "9", tenant.Seen{SKU: "1", Deleted: true}), free(gone)},
		{"an event of another", bought(nine), event(day(6), "8", tenant.Seen{SKU: "3"}), bought(`"8":{"sku":"3","at":"2026-01-06T12:00:00Z"},` + nine)},
		{"taken back before it was known", ``, event(day(4), "9", tenant.Seen{SKU: "1", Deleted: true}), free(gone)},
		{"an event without a time", ``, tenant.Observation{Seen: pro}, ``},
		{"ended long ago", ``, event(day(-5), "9", tenant.Seen{SKU: "1", EndsAt: day(-4)}), ``},
		{"by hand", byHand, interaction(day(5), pro), `{"communityId":"","tier":"enterprise","features":{},"rateLimits":{},"entitlements":{` + nine + `}}`},
		{"by hand, and nothing new", byHand, interaction(day(5), nil), ``},
		{"what ended is dropped with the next change", bought(`"8":{"sku":"1","endsAt":"2025-12-31T12:00:00Z","at":"2025-12-01T12:00:00Z"},"7":{"sku":"1","deleted":true,"at":"2025-12-31T12:00:00Z"}`), interaction(day(5), pro), bought(nine)},
	} {
		config, tiers := parsed(t, tt.config, skuTiers)
		before, err := json.Marshal(config, json.Deterministic(true))
		if err != nil {
			t.Fatal(err)
		}
		got := ""
		next := tt.seen.Apply(config, tiers, noon)
		if next != nil {
			text, err := json.Marshal(next, json.Deterministic(true))
			if err != nil {
				t.Fatal(err)
			}
			got = string(text)
			if again := tt.seen.Apply(next, tiers, noon); again != nil {
				t.Errorf("%s: the same observation again changes the config to %+v", tt.name, again)
			}
			if err := next.Validate(); err != nil {
				t.Errorf("%s: not valid: %v", tt.name, err)
			}
		}
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.name, diff)
		}
		if after, _ := json.Marshal(config, json.Deterministic(true)); string(after) != string(before) {
			t.Errorf("%s: the stored config became %s", tt.name, after)
		}
	}
}

// Webhook events come in any order, and more than once. Whatever the order, they make the same config.
func TestOrderOfEventsDoesNotMatter(t *testing.T) {
	t.Parallel()
	_, tiers := parsed(t, "", skuTiers)
	apply := func(events []tenant.Observation) *tenant.Config {
		var c *tenant.Config
		for i := range events {
			if next := events[i].Apply(c, tiers, noon); next != nil {
				c = next
			}
		}
		return c
	}
	one := rapid.Custom(func(t *rapid.T) tenant.Observation {
		id := rapid.IntRange(0, 2).Draw(t, "id") // few IDs and times, so that they meet
		seen := tenant.Seen{SKU: fmt.Sprint(1 + id), Deleted: rapid.IntRange(0, 5).Draw(t, "deleted") == 0}
		if rapid.Bool().Draw(t, "ends") {
			seen.EndsAt = day(rapid.IntRange(25, 35).Draw(t, "end"))
		}
		return event(day(rapid.IntRange(20, 23).Draw(t, "at")), fmt.Sprint(id), seen)
	})
	rapid.Check(t, func(t *rapid.T) {
		events := rapid.SliceOfN(one, 1, 12).Draw(t, "events")
		again := append(slices.Clone(events), rapid.SampledFrom(events).Draw(t, "again"))
		other := rapid.Permutation(again).Draw(t, "other order")
		if diff := cmp.Diff(apply(events), apply(other)); diff != "" {
			t.Fatalf("in the other order (-first +other):\n%s", diff)
		}
	})
}

// However many are bought, a config holds 20: those that matter most.
func TestEntitlementsAreBounded(t *testing.T) {
	t.Parallel()
	_, tiers := parsed(t, "", skuTiers)
	var c *tenant.Config
	apply := func(o tenant.Observation) bool {
		next := o.Apply(c, tiers, noon)
		if next == nil {
			return false
		}
		c = next
		if err := c.Validate(); err != nil {
			t.Fatal(err)
		}
		return true
	}
	apply(event(day(1), "1", tenant.Seen{SKU: "2"}))
	for i := range 15 {
		apply(event(day(20), fmt.Sprint(100+i), tenant.Seen{SKU: "1", EndsAt: day(20)}))
	}
	many := map[string]tenant.Seen{"1": {SKU: "2"}}
	for i := range 30 {
		many[fmt.Sprint(200+i)] = tenant.Seen{SKU: "1"}
	}
	if !apply(interaction(day(25), many)) {
		t.Error("nothing of a list of many is recorded")
	}
	ids := slices.Sorted(maps.Keys(c.Entitlements))
	if len(ids) != 20 || ids[0] != "1" || ids[1] < "200" || c.Tier != tenant.Enterprise {
		t.Errorf("%s, with %v", c.Tier, ids)
	}
	if apply(interaction(day(26), many)) {
		t.Error("the same list changes the config again")
	}
}
