package tenant_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/google/go-cmp/cmp"

	"arrakis/tenant"
)

// TestExplainWeight: a weight is a document's, or else the default of the tier, which priority support doubles: then the
// document decides that gave the support.
func TestExplainWeight(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ config, tiers, want string }{
		{`{"tier":"pro"}`, `{}`, `{"value":2,"source":"default"}`},
		{`{"tier":"pro","features":{"prioritySupport":true}}`, `{}`, `{"value":4,"source":"tenant","beneath":[{"value":2,"source":"default"}]}`},
		{`{"tier":"pro"}`, `{"pro":{"features":{"prioritySupport":true}}}`, `{"value":4,"source":"tiers","beneath":[{"value":2,"source":"default"}]}`},
		{`{"tier":"enterprise","features":{"prioritySupport":true}}`, `{}`, `{"value":4,"source":"default"}`},
		{
			`{"tier":"free","weight":9,"features":{"prioritySupport":true}}`, `{"free":{"weight":5}}`,
			`{"value":9,"source":"tenant","beneath":[{"value":5,"source":"tiers"},{"value":2,"source":"tenant"},{"value":1,"source":"default"}]}`,
		},
	} {
		config, tiers := parsed(t, tt.config, tt.tiers)
		e := tenant.Explain("c", tenant.Documents{Config: config, Tiers: tiers}, nil, time.Time{})
		got, err := json.Marshal(e.Weight)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(tt.want, string(got)); diff != "" {
			t.Errorf("%s with the tiers %s (-want +got):\n%s", tt.config, tt.tiers, diff)
		}
		if want := tenant.Resolve("c", tenant.Documents{Config: config, Tiers: tiers}, time.Time{}); int64(want.Weight) != e.Weight.Value || !cmp.Equal(want, e.Tenant) {
			t.Errorf("%s: explained %+v, resolved %+v", tt.config, e.Tenant, want)
		}
	}
}

// TestExplainFlags: each flag has the rule that decides.
func TestExplainFlags(t *testing.T) {
	t.Parallel()
	here := []string{"c"}
	flags := tenant.NewFlags(
		tenant.Flag{ID: "f-on", Enabled: true, Tiers: []tenant.Tier{tenant.Free}},
		tenant.Flag{ID: "e-rollout", Enabled: true, RolloutPercent: ptr(0.0)},
		tenant.Flag{ID: "d-tier", Enabled: true, Tiers: []tenant.Tier{tenant.Pro}, RolloutPercent: ptr(100.0)},
		tenant.Flag{ID: "c-included", Enabled: true, Communities: tenant.FlagCommunities{Include: here}, RolloutPercent: ptr(0.0)},
		tenant.Flag{ID: "b-excluded", Enabled: true, Communities: tenant.FlagCommunities{Include: here, Exclude: here}},
		tenant.Flag{ID: "a-disabled", Communities: tenant.FlagCommunities{Include: here}},
	)
	want := []tenant.FlagDecision{
		{ID: "a-disabled", Rule: tenant.RuleDisabled},
		{ID: "b-excluded", Rule: tenant.RuleExcluded},
		{ID: "c-included", On: true, Rule: tenant.RuleIncluded},
		{ID: "d-tier", Rule: tenant.RuleTier},
		{ID: "e-rollout", Rule: tenant.RuleRollout},
		{ID: "f-on", On: true, Rule: tenant.RuleOn},
	}
	if diff := cmp.Diff(want, tenant.Explain("c", tenant.Documents{Tiers: new(tenant.Tiers)}, flags, time.Time{}).Flags); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// Resolving allocates the tenant, and its boosts if it has any: no history.
func TestResolveAllocates(t *testing.T) {
	config, err := tenant.ParseConfig([]byte(fullConfig))
	if err != nil {
		t.Fatal(err)
	}
	tiers, err := tenant.ParseTiers([]byte(`{"pro":{"weight":3,"mode":"shadow","onLimit":"delay"}}`))
	if err != nil {
		t.Fatal(err)
	}
	if n := testing.AllocsPerRun(100, func() { tenant.Resolve("c", tenant.Documents{Config: &config, Tiers: &tiers}, time.Time{}) }); n > 1 {
		t.Errorf("%v allocations, want 1", n)
	}
}

// history is a setting with where it comes from, and then what it overrides.
func history[T any](s tenant.Setting[T]) string {
	text := fmt.Sprintf("%v %s", s.Value, s.Source)
	for _, b := range s.Beneath {
		text += fmt.Sprintf(", %v %s", b.Value, b.Source)
	}
	return text
}
