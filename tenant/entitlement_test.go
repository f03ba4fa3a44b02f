package tenant_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/google/go-cmp/cmp"

	"arrakis/tenant"
)

const skuTiers = `{"skus":{"1":"pro","2":"enterprise","3":"free"}}`

func TestParseEntitlements(t *testing.T) {
	t.Parallel()
	const doc = `{"tier":"pro","tierFrom":"entitlement","entitlements":{
		"100":{"sku":"1","endsAt":"2026-01-31T13:00:00+01:00","at":"2026-01-01T00:00:00Z"},"101":{"sku":"2","deleted":true,"at":"2026-01-02T00:00:00Z"}}}`
	c, err := tenant.ParseConfig([]byte(doc))
	if err != nil {
		t.Fatal(err)
	}
	if e := c.Entitlements["100"]; !e.EndsAt.Equal(noon) || e.SKU != "1" {
		t.Errorf("read as %+v", e)
	}
	const second = `"101":{"sku":"2","deleted":true,"at":"2026-01-02T00:00:00Z"}`
	for _, tt := range []struct{ patch, want string }{
		{`{"entitlements":{"100":{"deleted":true}}}`, `{"100":{"sku":"1","endsAt":"2026-01-31T13:00:00+01:00","deleted":true,"at":"2026-01-01T00:00:00Z"},` + second + `}`},
		{`{"entitlements":{"100":null}}`, `{` + second + `}`},
		{`{"entitlements":{"100":{"sku":"3","at":"2026-01-01T00:00:00Z"}}}`, `{"100":{"sku":"3","at":"2026-01-01T00:00:00Z"},` + second + `}`},
		{`{"entitlements":null}`, `{}`},
	} {
		before := fmt.Sprint(c.Entitlements)
		patched := c
		if err := patched.Merge([]byte(tt.patch)); err != nil {
			t.Fatalf("%s: %v", tt.patch, err)
		}
		if after := fmt.Sprint(c.Entitlements); after != before {
			t.Errorf("%s changed the config that was copied from %s to %s", tt.patch, before, after)
		}
		if got, err := json.Marshal(patched.Entitlements, json.Deterministic(true)); string(got) != tt.want || err != nil {
			t.Errorf("%s: %s, want %s (%v)", tt.patch, got, tt.want, err)
		}
		c = patched
	}
}

func TestParseEntitlementsRefuses(t *testing.T) {
	t.Parallel()
	const at = `"at":"2026-01-01T00:00:00Z"`
	many := `{"0":{"sku":"1",` + at + `}`
	for i := range 20 {
		many += fmt.Sprintf(`,"%d":{"sku":"1",%s}`, i+1, at)
	}
	for _, tt := range []struct{ members, want string }{
		{`"tierFrom":"hand"`, "tierFrom"},
		{`"tierFrom":1`, "tierFrom"},
		{`"entitlements":[]`, "entitlements"},
		{`"entitlements":` + many + `}`, "entitlements"},
		{`"entitlements":{"x":{"sku":"1",` + at + `}}`, "entitlements.x"},
		{`"entitlements":{"1":1}`, "entitlements.1"},
		{`"entitlements":{"1":{"sku":"123456789012345678901",` + at + `}}`, "entitlements.1.sku"},
		{`"entitlements":{"1":{"sku":1,` + at + `}}`, "entitlements.1.sku"},
		{`"entitlements":{"1":{"sku":"1"}}`, "entitlements.1.at"},
		{`"entitlements":{"1":{"sku":"1",` + at + `,"endsAt":"soon"}}`, "entitlements.1.endsAt"},
		{`"texts":{"de":1}`, "texts.de"},
		{`"texts":{"de":{"rate_limited":1}}`, "texts.de.rate_limited"},
		{`"texts":{"de":{"rate_limited":""}}`, "texts.de.rate_limited"},
		{`"texts":{"de":{"rate_limited":"` + strings.Repeat("x", 1001) + `"}}`, "texts.de.rate_limited"},
		{`"texts":{"de":{"greeting":"x"}}`, "texts.de.greeting"},
		{`"texts":{"German":{"error":"x"}}`, "texts.German"},
	} {
		for _, stored := range []bool{false, true} {
			_, err := tenant.ParseConfig([]byte(`{"tier":"pro",` + tt.members + `}`))
			if stored {
				_, err = tenant.ParseStored[tenant.Config]([]byte(`{"tier":"pro",` + tt.members + `}`))
			}
			if got := faultFields(err); len(got) == 0 || got[0] != tt.want {
				t.Errorf("%.80s, stored %t: %v, want a fault of %s", tt.members, stored, err, tt.want)
			}
		}
	}
	if _, err := tenant.ParseConfig([]byte(`{"tier":"pro","texts":{"*":{"error":"x"},"en-US":{"rate_limited":"x"},"es-419":{}},"tierFrom":"entitlement"}`)); err != nil {
		t.Error(err)
	}
	if _, err := tenant.ParseConfig([]byte(`{"tier":"pro","entitlements":{"1":{"sku":"1",` + at + `,"x":1}}}`)); err == nil {
		t.Error("an unknown member of an entitlement is accepted from a user")
	}
}

// The tier that is in force, who decided it, what is beneath, and until when.
func TestTierOfEntitlements(t *testing.T) {
	t.Parallel()
	entitled := func(members string) string { return `{"tier":"enterprise","tierFrom":"entitlement",` + members + `}` }
	const at = `"at":"2026-01-01T00:00:00Z"`
	for _, tt := range []struct {
		name, config string
		now          time.Time
		want         string // as decided
		ends         int64
	}{
		{"no config", ``, noon, "free (default)", 0},
		{"by hand", `{"tier":"pro"}`, noon, "pro (tenant) over free (default)", 0},
		{"bought", entitled(`"entitlements":{"9":{"sku":"1",` + at + `}}`), noon, "pro (entitlement) over free (default), 9 of SKU 1", 0},
		{"none is bought", entitled(`"entitlements":{}`), noon, "free (default)", 0},
		{"a SKU that gives nothing", entitled(`"entitlements":{"9":{"sku":"77",` + at + `}}`), noon, "free (default)", 0},
		{"taken back", entitled(`"entitlements":{"9":{"sku":"1","deleted":true,` + at + `}}`), noon, "free (default)", 0},
		{"ends", entitled(`"entitlements":{"9":{"sku":"1","endsAt":"2026-01-31T12:00:00Z",` + at + `}}`), noon.Add(-1), "pro (entitlement) over free (default), 9 of SKU 1", noon.UnixMilli()},
		{"has ended", entitled(`"entitlements":{"9":{"sku":"1","endsAt":"2026-01-31T12:00:00Z",` + at + `}}`), noon, "free (default)", 0},
		{"the highest", entitled(`"entitlements":{"8":{"sku":"1",` + at + `},"9":{"sku":"2",` + at + `},"7":{"sku":"3",` + at + `}}`), noon, "enterprise (entitlement) over free (default), 9 of SKU 2", 0},
		{
			"of two that give the same, what ends last",
			entitled(`"entitlements":{"8":{"sku":"1","endsAt":"2026-02-01T12:00:00Z",` + at + `},"9":{"sku":"1","endsAt":"2026-01-31T13:00:00Z",` + at + `}}`),
			noon, "pro (entitlement) over free (default), 8 of SKU 1", noon.Add(24 * time.Hour).UnixMilli(),
		},
		{"one of them does not end", entitled(`"entitlements":{"8":{"sku":"1","endsAt":"2026-02-01T12:00:00Z",` + at + `},"9":{"sku":"1",` + at + `}}`), noon, "pro (entitlement) over free (default), 9 of SKU 1", 0},
		{"by hand over bought", `{"tier":"free","entitlements":{"9":{"sku":"2","endsAt":"2026-02-01T12:00:00Z",` + at + `}}}`, noon, "free (tenant) over enterprise (entitlement) over free (default), 9 of SKU 2", 0},
	} {
		config, tiers := parsed(t, tt.config, skuTiers)
		e := tenant.Explain("c", tenant.Documents{Config: config, Tiers: tiers}, nil, tt.now)
		got := fmt.Sprintf("%s (%s)", e.Tier.Value, e.Tier.Source)
		for _, b := range e.Tier.Beneath {
			got += fmt.Sprintf(" over %s (%s)", b.Value, b.Source)
		}
		if e.Bought != nil {
			got += fmt.Sprintf(", %s of SKU %s", e.Bought.ID, e.Bought.SKU)
		}
		if got != tt.want || e.Tenant.TierEndsMS != tt.ends {
			t.Errorf("%s: %s, until %d; want %s, until %d", tt.name, got, e.Tenant.TierEndsMS, tt.want, tt.ends)
		}
		if diff := cmp.Diff(tenant.Resolve("c", tenant.Documents{Config: config, Tiers: tiers}, tt.now), e.Tenant); diff != "" || e.Tenant.Tier != e.Tier.Value {
			t.Errorf("%s: Resolve and Explain differ (-resolved +explained):\n%s", tt.name, diff)
		}
	}
}

// A patch that names the tier sets it by hand; one that names tierFrom gives it back.
func TestMergeTierFrom(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ config, patch, want string }{
		{`{"tier":"free","tierFrom":"entitlement"}`, `{"tier":"free"}`, "free "},
		{`{"tier":"free","tierFrom":"entitlement"}`, `{"guildId":"1"}`, "free entitlement"},
		{`{"tier":"pro"}`, `{"tierFrom":"entitlement"}`, "pro entitlement"},
		{`{"tier":"pro"}`, `{"tierFrom":"entitlement","tier":"enterprise"}`, "enterprise entitlement"},
		{`{"tier":"pro","tierFrom":"entitlement"}`, `{"tierFrom":null}`, "pro "},
	} {
		c, _ := parsed(t, tt.config, "{}")
		if err := c.Merge([]byte(tt.patch)); err != nil {
			t.Fatal(err)
		}
		if got := fmt.Sprint(c.Tier, " ", c.TierFrom); got != tt.want {
			t.Errorf("%s and %s: %s, want %s", tt.config, tt.patch, got, tt.want)
		}
	}
}
