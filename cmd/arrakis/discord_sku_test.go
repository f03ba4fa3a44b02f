package main

import (
	"strings"
	"testing"

	"arrakis/loadtest/testserver"
)

// A tier that was bought gives way to one that is set by hand, and comes back when that is given up. What is printed says
// which of them counts, with the other one beneath.
func TestTierByHandAndBought(t *testing.T) {
	t.Parallel()
	m := testserver.Miniredis(t)
	env := environment{"REDIS_URL": "redis://" + m.Addr()}
	const config = `{"tier":"free","tierFrom":"entitlement","entitlements":{"9":{"sku":"77","endsAt":"2999-01-31T12:00:00Z","at":"2026-01-01T00:00:00Z"}}}`
	if err := m.Set("tenant:config:g", config); err != nil {
		t.Fatal(err)
	}
	const bought = "pro from an entitlement: SKU 77, ends 2999-01-31T12:00:00Z "
	for _, tt := range []struct{ command, want string }{
		{"explain g ping", "community g (free) tier free: no entitlement gives another "},
		{"discord sku set 77 pro", ""},
		{"explain g ping", "community g (pro) tier " + bought},
		{"tenant get g", "tier " + bought},
		{"tenant list", "g pro+ 100 "},
		{"tenant set g --commands=7", "tier " + bought},
		{"tenant set g --tier=free", "tier free, set by hand, over " + bought},
		{"tenant list", "g free 7 "},
		{"explain g ping", "community g (free) tier free, set by hand, over " + bought},
		{"tenant set g --tier=auto", "tier " + bought},
		{"tenant upgrade g enterprise", "tier enterprise, set by hand, over " + bought},
		{`tenant set g --data={"tierFrom":"entitlement"}`, "tier " + bought},
		{"tenant set other --guild=1", "tier free: no entitlement gives another "},
	} {
		r := arrakis(t, env, strings.Fields(tt.command)...)
		if got := strings.Join(strings.Fields(r.stdout), " "); r.code != exitDone || !strings.Contains(got+" ", tt.want) {
			t.Errorf("%s: no %q in %s%s", tt.command, tt.want, got, r.stderr)
		}
	}
	if r := arrakis(t, env, "explain", "g", "ping", "--json"); !strings.Contains(r.stdout, `"source": "entitlement"`) || !strings.Contains(r.stdout, `"ends_at": "2999-01-31T12:00:00Z"`) {
		t.Errorf("explain --json: %+v", r)
	}
}

// The SKUs are a part of the tiers document: setting one changes nothing else, and `tiers set` keeps them.
func TestDiscordSKU(t *testing.T) {
	t.Parallel()
	m := testserver.Redis(t)
	env := environment{"REDIS_URL": "redis://" + m.Addr()}
	for _, tt := range []struct {
		command string
		code    int
		want    string // in the output
	}{
		{"discord sku list", exitDone, "no SKU gives a tier"},
		{"discord sku list --json", exitDone, `"skus": {}`},
		{`tiers set {"pro":{"weight":3}}`, exitDone, ""},
		{"discord sku set 1019475255913222144 pro", exitDone, "1019475255913222144  pro\n"},
		{"discord sku set 7 enterprise --json", exitDone, `"7": "enterprise"`},
		{"discord sku list", exitDone, "SKU                  TIER\n1019475255913222144  pro\n7                    enterprise\n"},
		{"tiers get --json", exitDone, `"weight": 3`},
		{`tiers set {"pro":{"weight":5}}`, exitDone, ""},
		{"tiers get", exitDone, "SKU 7"},
		{"discord sku delete 7", exitDone, "deleted 7"},
		{"discord sku delete 7", exitFailed, "SKU 7: not found"},
		{"discord sku list --json", exitDone, "{\n  \"skus\": {\n    \"1019475255913222144\": \"pro\"\n  }\n}\n"},
		{"audit", exitDone, "skus.7: enterprise → not set"},
		{"discord sku set x pro", exitUsage, "must be 1 to 20 digits"},
		{"discord sku delete 123456789012345678901", exitUsage, "must be 1 to 20 digits"},
		{"discord sku set 7 gold", exitUsage, `is unknown: "gold"`},
		{`tiers set {"skus":{"x":"pro","7":"gold","8":1,"9":null}}`, exitUsage, "skus.7: is unknown"},
		{`tiers set {"skus":{}}`, exitDone, ""},
		{"discord sku list", exitDone, "no SKU gives a tier"},
	} {
		r := arrakis(t, env, strings.Fields(tt.command)...)
		if got := r.stdout + r.stderr; r.code != tt.code || !strings.Contains(got, tt.want) {
			t.Errorf("%s: exit code %d, want %d; %q is not in\n%s", tt.command, r.code, tt.code, tt.want, got)
		}
	}
}
