package tenant_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"arrakis/tenant"
)

func TestFlagOn(t *testing.T) {
	t.Parallel()
	pro := &tenant.Tenant{ID: "a", Tier: tenant.Pro}
	tests := []struct {
		name string
		flag tenant.Flag
		want bool
	}{
		{"disabled beats included", tenant.Flag{Communities: tenant.FlagCommunities{Include: []string{"a"}}}, false},
		{"enabled", tenant.Flag{Enabled: true}, true},
		{"excluded beats included", tenant.Flag{Enabled: true, Communities: tenant.FlagCommunities{Include: []string{"a"}, Exclude: []string{"a"}}}, false},
		{"included beats tier and rollout", tenant.Flag{Enabled: true, Communities: tenant.FlagCommunities{Include: []string{"a"}}, Tiers: []tenant.Tier{tenant.Free}, RolloutPercent: ptr(0.0)}, true},
		{"tier given", tenant.Flag{Enabled: true, Tiers: []tenant.Tier{tenant.Free, tenant.Pro}}, true},
		{"other tier", tenant.Flag{Enabled: true, Tiers: []tenant.Tier{tenant.Enterprise}, RolloutPercent: ptr(100.0)}, false},
		{"rollout of none", tenant.Flag{Enabled: true, RolloutPercent: ptr(0.0)}, false},
		{"rollout to all", tenant.Flag{Enabled: true, RolloutPercent: ptr(100.0)}, true},
		{"tier given, rollout of none", tenant.Flag{Enabled: true, Tiers: []tenant.Tier{tenant.Pro}, RolloutPercent: ptr(0.0)}, false},
	}
	for _, tt := range tests {
		if got := tt.flag.On(pro); got != tt.want {
			t.Errorf("%s: %v", tt.name, got)
		}
	}
}

// A community that has a flag keeps it as the rollout grows.
func TestRolloutGrows(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		f := tenant.Flag{ID: rapid.StringMatching(`[a-z.-]{1,20}`).Draw(t, "flag"), Enabled: true}
		who := &tenant.Tenant{ID: rapid.StringMatching(`[A-Za-z0-9_:-]{1,40}`).Draw(t, "community")}
		step := rapid.Float64Range(0.5, 20).Draw(t, "step")
		before := false
		for share := 0.0; share <= 100; share += step {
			f.RolloutPercent = &share
			on := f.On(who)
			if before && !on {
				t.Fatalf("on below %v%%, off there", share)
			}
			before = on
		}
	})
}

// The share that has a flag is the percentage, flags pick different communities, and the picks never change between
// versions.
func TestRolloutSpread(t *testing.T) {
	t.Parallel()
	const communities = 10_000
	on := func(flag string) (ids []string) {
		f := tenant.Flag{ID: flag, Enabled: true, RolloutPercent: ptr(25.0)}
		for i := range communities {
			if who := (&tenant.Tenant{ID: fmt.Sprintf("comm_%d", i)}); f.On(who) {
				ids = append(ids, who.ID)
			}
		}
		return ids
	}
	one, two := on("one"), on("two")
	for _, ids := range [][]string{one, two} {
		if n := len(ids); n < 2350 || n > 2650 {
			t.Errorf("25%% of %d communities are %d", communities, n)
		}
	}
	both := 0
	for _, id := range one {
		if slices.Contains(two, id) {
			both++
		}
	}
	if both < 500 || both > 750 {
		t.Errorf("%d communities have both flags, want about a sixteenth", both)
	}
	if diff := cmp.Diff(firstOfOne, one[:5]); diff != "" {
		t.Errorf("the picks changed, which flips communities (-want +got):\n%s", diff)
	}
}

// firstOfOne are the first communities that have the flag "one" at 25 %.
var firstOfOne = []string{"comm_0", "comm_1", "comm_9", "comm_11", "comm_12"}

func TestParseFlagRefuses(t *testing.T) {
	t.Parallel()
	tests := []struct {
		doc    string
		fields []string
	}{
		{`{"id":"a","enabled":true}`, nil},
		{
			`{"id":"a:b","enabled":"yes","tiers":["gold"],"rolloutPercent":100.5,"communities":{"include":["a b"],"exclude":1,"only":[]},"percent":3}`,
			[]string{"communities.exclude", "communities.include", "communities.only", "enabled", "id", "percent", "rolloutPercent", "tiers"},
		},
		{`{"id":"a","rolloutPercent":"5"}`, []string{"rolloutPercent"}},
		{`{"enabled":true,"description":"` + strings.Repeat("x", 2000) + `"}`, []string{"description", "id"}},
	}
	for _, tt := range tests {
		_, err := tenant.ParseFlag([]byte(tt.doc))
		got := faultFields(err)
		slices.Sort(got)
		if diff := cmp.Diff(tt.fields, got); diff != "" {
			t.Errorf("%.80s: faults (-want +got):\n%s%v", tt.doc, diff, err)
		}
	}
}
