package main

import (
	"maps"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"arrakis/loadtest/testserver"
	"arrakis/loadtest/testserver/fakediscord"
)

// What Discord lists and the store has differ in every way that they can; --apply mends what can be mended.
func TestDiscordReconcile(t *testing.T) {
	t.Parallel()
	s, m := newDiscordSite(t), testserver.Miniredis(t)
	env := maps.Clone(s.env)
	env["REDIS_URL"] = "redis://" + m.Addr()
	const at, later = `"at":"2026-01-01T00:00:00Z"`, "2999-01-31T12:00:00Z"
	stored := func(id, members string) {
		t.Helper()
		if err := m.Set("tenant:config:"+id, `{"tier":"free",`+members+`}`); err != nil {
			t.Fatal(err)
		}
	}
	bought := func(entitlements string) string {
		return `"tierFrom":"entitlement","entitlements":{` + entitlements + `}`
	}
	ends, err := time.Parse(time.RFC3339, later)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range []fakediscord.Entitlement{
		{ID: "1", SKU: "77", Guild: "101"},                // not known here
		{ID: "2", SKU: "77", User: "102"},                 // nor this, of a user
		{ID: "3", SKU: "77", Guild: "103"},                // known
		{ID: "4", SKU: "77", Guild: "104", EndsAt: &ends}, // here without an end
		{ID: "5", SKU: "77", Guild: "105"},                // here it has ended
		{ID: "6", SKU: "77", Guild: "106"},                // held
		{ID: "7", SKU: "77", Guild: "107"},                // of a config that cannot be used
		{ID: "8", SKU: "88", Guild: "108"},                // gives nothing
		{ID: "9", SKU: "77", Guild: "109"},                // here a later word
		{ID: "11", SKU: "77", Guild: "111", Deleted: true},
	} {
		s.fake.Grant(e)
	}
	stored("103", bought(`"3":{"sku":"77",`+at+`}`))
	stored("104", bought(`"4":{"sku":"77",`+at+`}`))
	stored("105", bought(`"5":{"sku":"77","endsAt":"2026-01-01T00:00:00Z",`+at+`}`))
	stored("106", `"entitlements":{"6":{"sku":"77",`+at+`}}`)
	stored("107", `"tierFrom":7`)
	stored("109", bought(`"9":{"sku":"77","endsAt":"2026-01-01T00:00:00Z","at":"`+later+`"}`))
	stored("110", bought(`"10":{"sku":"77",`+at+`}`)) // not listed
	stored("112", `"guildId":"112"`)
	if r := arrakis(t, env, "discord", "sku", "set", "77", "pro"); r.code != exitDone {
		t.Fatalf("%+v", r)
	}
	reconcile := func(code int, want string, flags ...string) {
		t.Helper()
		r := arrakis(t, env, append([]string{"discord", "reconcile"}, flags...)...)
		if diff := cmp.Diff(want, r.stdout); diff != "" || r.code != code {
			t.Errorf("%v: exit code %d, want %d, %s (-want +got):\n%s", flags, r.code, code, r.stderr, diff)
		}
	}
	const found = `COMMUNITY  DIFFERENCE  ENTITLEMENT  TIER
101        missing     1            pro
104        changed     4            pro
105        missing     5            pro
106        held        6            pro
107        unusable
110        ended       10           pro
user:102   missing     2            pro
SKU 88 gives no tier, and was bought 1 time: ` + "`arrakis discord sku set`" + `
`
	reconcile(exitFailed, found+"10 tenants compared, 7 differences: --apply takes over what Discord lists\n")
	reconcile(exitFailed, found+"10 tenants compared, 7 differences, 5 mended\n", "--apply")
	if err := m.Set("tenant:config:107", `{"tier":"pro"}`); err != nil {
		t.Fatal(err)
	}
	reconcile(exitFailed, `{
  "communities": 10,
  "differences": [
    {
      "community": "106",
      "difference": "held",
      "entitlement": "6",
      "sku": "77",
      "tier": "pro"
    },
    {
      "community": "107",
      "difference": "missing",
      "entitlement": "7",
      "sku": "77",
      "tier": "pro"
    }
  ],
  "mended": 0,
  "unmapped": {
    "88": 1
  }
}
`, "--json")
	reconcile(exitDone, "COMMUNITY  DIFFERENCE  ENTITLEMENT  TIER\n106        held        6            pro\n107        missing     7            pro\n"+
		"SKU 88 gives no tier, and was bought 1 time: `arrakis discord sku set`\n10 tenants compared, 2 differences, 1 mended\n", "--apply")
	for community, want := range map[string]string{
		"101": "pro from an entitlement: SKU 77\n", "104": "SKU 77, ends " + later + "\n", "105": "pro from", "106": "free, set by hand, over pro from",
		"107": "pro, set by hand, over pro from", "109": "free: no entitlement", "110": "free: no entitlement", "user:102": "pro from",
	} {
		if r := arrakis(t, env, "tenant", "get", community); !strings.Contains(strings.Join(strings.Fields(r.stdout), " ")+"\n", strings.TrimSpace(want)) {
			t.Errorf("%s: no %q in %s%s", community, want, r.stdout, r.stderr)
		}
	}
}

func TestDiscordReconcileFails(t *testing.T) {
	t.Parallel()
	s, m := newDiscordSite(t), testserver.Miniredis(t)
	env := maps.Clone(s.env)
	if r := arrakis(t, environment{}, "discord", "reconcile"); r.code != exitUsage || !strings.Contains(r.stderr, "DISCORD_BOT_TOKEN") || !strings.Contains(r.stderr, "DISCORD_APPLICATION_ID") {
		t.Errorf("without settings: %+v", r)
	}
	env["REDIS_URL"] = "redis://" + m.Addr()
	s.fake.Fail(1, fakediscord.Status(http.StatusUnauthorized))
	if r := arrakis(t, env, "discord", "reconcile", "--apply"); r.code != exitFailed || !strings.Contains(r.stderr, "DISCORD_BOT_TOKEN is not valid") {
		t.Errorf("with a token that is not valid: %+v", r)
	}
	if r := arrakis(t, env, "discord", "reconcile"); r.code != exitDone || r.stdout != "0 tenants compared, 0 differences\n" {
		t.Errorf("with nothing: %+v", r)
	}
}

// What was bought for a community is held while its account has a lower tier, and only then.
func TestReconcileInAnAccount(t *testing.T) {
	t.Parallel()
	s, m := newDiscordSite(t), testserver.Miniredis(t)
	env := maps.Clone(s.env)
	env["REDIS_URL"] = "redis://" + m.Addr()
	s.fake.Grant(fakediscord.Entitlement{ID: "1", SKU: "77", Guild: "101"})
	const config = `{"tier":"free","account":"acme","tierFrom":"entitlement","entitlements":{"1":{"sku":"77","at":"2026-01-01T00:00:00Z"}}}`
	if err := m.Set("tenant:config:101", config); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ command, want string }{
		{"discord sku set 77 pro", ""},
		{"account set acme --tier free", ""},
		{"discord reconcile", "101        held        1            pro\n"},
		{"tenant get 101", "free from the account acme, over pro from an entitlement: SKU"},
		{"account set acme --tier enterprise", ""},
		{"discord reconcile", "1 tenant compared, 0 differences\n"},
		{"tenant get 101", "enterprise from the account acme\n"},
	} {
		if r := arrakis(t, env, strings.Fields(tt.command)...); r.code != exitDone || !strings.Contains(r.stdout, tt.want) {
			t.Errorf("%s: %+v, want %s", tt.command, r, tt.want)
		}
	}
}
