package tenant_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"arrakis/tenant"
)

func parsedAccount(t *testing.T, text string) *tenant.Account {
	t.Helper()
	if text == "" {
		return nil
	}
	a, err := tenant.ParseAccount([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return &a
}

func TestParseAccountRefuses(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ doc, want string }{
		{`{}`, "tier"},
		{`{"tier":"gold"}`, "tier"},
		{`{"tier":"pro","counted":"both"}`, "counted"},
		{`{"tier":"pro","counted":1}`, "counted"},
		{`{"tier":"pro","name":"a\nb"}`, "name"},
		{`{"tier":"pro","name":"` + strings.Repeat("é", 101) + `"}`, "name"},
		{`{"tier":"pro","rateLimits":{"commandsPerMinute":-2}}`, "rateLimits.commandsPerMinute"},
		{`{"tier":"pro","onLimit":{"command":"drop"}}`, "onLimit.command"},
		{`{"tier":"pro","maxDelayed":0}`, "maxDelayed"},
		{`{"tier":"pro","mode":"off"}`, "mode"},
		{`{"tier":"pro","weight":0}`, "weight"},
		{`{"tier":"pro","communities":[]}`, "communities"},
		{`{"tier":"pro","boosts":{}}`, "boosts"},
	} {
		_, err := tenant.ParseAccount([]byte(tt.doc))
		if diff := cmp.Diff([]string{tt.want}, faultFields(err)); diff != "" {
			t.Errorf("%s: faults (-want +got):\n%s%v", tt.doc, diff, err)
		}
	}
	if _, err := tenant.ParseAccount([]byte(`{"tier":"pro","name":"` + strings.Repeat("é", 100) + `","counted":null}`)); err != nil {
		t.Error(err)
	}
	if _, err := tenant.ParseConfig([]byte(`{"tier":"pro","account":"@acme"}`)); !cmp.Equal(faultFields(err), []string{"account"}) {
		t.Errorf("a config that names no account: %v", err)
	}
}

func TestMergeAccount(t *testing.T) {
	t.Parallel()
	const full = `{"name":"Acme","tier":"pro","counted":"together","rateLimits":{"commandsPerMinute":500},"onLimit":"delay","weight":7}`
	for _, tt := range []struct{ patch, want string }{
		{`{}`, full},
		{`{"tier":"free","name":null,"counted":null,"rateLimits":{"commandsPerMinute":null,"syncRequestsPerDay":3}}`, `{"tier":"free","rateLimits":{"syncRequestsPerDay":3},"onLimit":"delay","weight":7}`},
		{`{"rateLimits":null,"onLimit":null,"weight":null}`, `{"name":"Acme","tier":"pro","counted":"together"}`},
	} {
		a, before, want := parsedAccount(t, full), parsedAccount(t, full), parsedAccount(t, tt.want)
		got := *a
		if err := got.Merge([]byte(tt.patch)); err != nil {
			t.Errorf("%s: %v", tt.patch, err)
		}
		if diff := cmp.Diff(want, &got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.patch, diff)
		}
		if diff := cmp.Diff(before, a); diff != "" {
			t.Errorf("%s changed the account that was copied:\n%s", tt.patch, diff)
		}
		if err := got.Merge([]byte(`{"tier":"free","counted":"both"}`)); err == nil || !cmp.Equal(want, &got) {
			t.Errorf("a bad patch: %v, %+v", err, got)
		}
	}
}

// TestExplainAccount: an account says the tier, whatever the config and entitlements say; of all else it says, a config
// overrides what it sets itself. An account that is not stored says nothing.
func TestExplainAccount(t *testing.T) {
	t.Parallel()
	const (
		bought = `"tierFrom":"entitlement","entitlements":{"100":{"sku":"2","at":"2026-01-01T00:00:00Z"}}`
		acme   = `{"name":"Acme","tier":"pro"}`
	)
	for _, tt := range []struct {
		config, account string
		tier            string // with where it comes from, and what it overrides
		commands        string // the same of the limit
	}{
		{`{"tier":"free","account":"acme"}`, acme, "pro account, free tenant, free default", "100 default"},
		{`{"tier":"enterprise","account":"acme"}`, acme, "pro account, enterprise tenant, free default", "100 default"},
		{`{"tier":"free",` + bought + `,"account":"acme"}`, acme, "pro account, enterprise entitlement, free default", "100 default"},
		{`{"tier":"pro","account":"acme"}`, `{"tier":"free"}`, "free account, pro tenant, free default", "20 tiers, 10 default"},
		{
			`{"tier":"free","account":"acme"}`, `{"tier":"pro","rateLimits":{"commandsPerMinute":500}}`,
			"pro account, free tenant, free default", "500 account, 100 default",
		},
		{
			`{"tier":"free","account":"acme","rateLimits":{"commandsPerMinute":7}}`, `{"tier":"free","rateLimits":{"commandsPerMinute":500}}`,
			"free account, free tenant, free default", "7 tenant, 500 account, 20 tiers, 10 default",
		},
		{`{"tier":"free","account":"acme"}`, ``, "free tenant, free default", "20 tiers, 10 default"},
		{`{"tier":"free",` + bought + `,"account":"acme"}`, ``, "enterprise entitlement, free default", "-1 default"},
		{`{"tier":"free"}`, acme, "free tenant, free default", "20 tiers, 10 default"}, // it names none
		{``, acme, "free default", "20 tiers, 10 default"},
	} {
		config, tiers := parsed(t, tt.config, `{"free":{"rateLimits":{"commandsPerMinute":20}},"skus":{"2":"enterprise"}}`)
		d := tenant.Documents{Config: config, Account: parsedAccount(t, tt.account), Tiers: tiers}
		e := tenant.Explain("c", d, nil, noon)
		if got := history(e.Tier); got != tt.tier {
			t.Errorf("%s in %s: tier %q, want %q", tt.config, tt.account, got, tt.tier)
		}
		if got := history(e.Max[tenant.Command]); got != tt.commands {
			t.Errorf("%s in %s: commands %q, want %q", tt.config, tt.account, got, tt.commands)
		}
		if diff := cmp.Diff(tenant.Resolve("c", d, noon), e.Tenant); diff != "" || e.Tenant.Tier != e.Tier.Value {
			t.Errorf("%s in %s: (-resolved +explained)\n%s", tt.config, tt.account, diff)
		}
	}
}

// TestAccountSettings: what an account sets is in force for its communities, also the weight that priority support gives.
func TestAccountSettings(t *testing.T) {
	t.Parallel()
	config, tiers := parsed(t, `{"tier":"free","account":"acme","features":{"customBranding":false}}`, `{"pro":{"weight":3}}`)
	account := parsedAccount(t, `{"tier":"pro","features":{"prioritySupport":true},"onLimit":"delay","maxDelayed":9,"mode":"shadow"}`)
	e := tenant.Explain("c", tenant.Documents{Config: config, Account: account, Tiers: tiers}, nil, noon)
	var features []string
	for _, f := range e.Features {
		features = append(features, history(f.Setting))
	}
	got := []string{
		strings.Join(features, "; "), history(e.OnLimit[tenant.Command]), history(e.MaxDelayed), history(e.Mode), history(e.Weight),
	}
	want := []string{
		"false tenant, true default; true default; true account, false default; false default",
		"delay account, reject default", "9 account, 100 default", "shadow account, enforce default", "3 tiers, 4 account, 2 default",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	account.Weight = ptr(int64(11))
	if e = tenant.Explain("c", tenant.Documents{Config: config, Account: account, Tiers: tiers}, nil, noon); e.Tenant.Weight != 11 {
		t.Errorf("weight %d, want the account's 11", e.Tenant.Weight)
	}
}

func TestMembership(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		config, account string
		want            *tenant.Membership
		counted         string // under which ID commands are
	}{
		{`{"tier":"free","account":"acme","communityId":"comm"}`, `{"name":"Acme","tier":"pro","counted":"together"}`, &tenant.Membership{ID: "acme", Name: "Acme", Counted: tenant.Together}, "@acme"},
		{`{"tier":"free","account":"acme","communityId":"comm"}`, `{"tier":"pro","counted":"each"}`, &tenant.Membership{ID: "acme", Counted: tenant.Each}, "comm"},
		{`{"tier":"free","account":"acme","communityId":"comm"}`, `{"tier":"pro"}`, &tenant.Membership{ID: "acme", Counted: tenant.Each}, "comm"},
		{`{"tier":"free","account":"acme","communityId":"comm"}`, ``, &tenant.Membership{ID: "acme"}, "comm"},
		{`{"tier":"free","communityId":"comm"}`, `{"tier":"pro","counted":"together"}`, nil, "comm"},
	} {
		config, tiers := parsed(t, tt.config, `{}`)
		got := tenant.Resolve("guild", tenant.Documents{Config: config, Account: parsedAccount(t, tt.account), Tiers: tiers}, time.Time{})
		if diff := cmp.Diff(tt.want, got.Account); diff != "" {
			t.Errorf("%s in %s (-want +got):\n%s", tt.config, tt.account, diff)
		}
		for a, want := range []string{tt.counted, tt.counted, tt.counted, "comm"} {
			if id := got.LimitID(tenant.Action(a)); id != want {
				t.Errorf("%s in %s: %s is counted under %q, want %q", tt.config, tt.account, tenant.Action(a), id, want)
			}
		}
	}
}
