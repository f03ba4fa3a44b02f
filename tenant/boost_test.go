package tenant_test

import (
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/google/go-cmp/cmp"

	"arrakis/tenant"
)

var noon = time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)

func TestParseBoosts(t *testing.T) {
	t.Parallel()
	const doc = `{"tier":"free","boosts":{"commandsPerMinute":{"add":500,"until":"2026-01-31T13:00:00+01:00"},"userCommandsPerMinute":{"add":1,"until":"2026-01-31T12:00:00Z"}}}`
	c, err := tenant.ParseConfig([]byte(doc))
	if err != nil {
		t.Fatal(err)
	}
	want := [tenant.NumActions]tenant.Boost{tenant.Command: {Add: 500, Until: noon}, tenant.UserCommand: {Add: 1, Until: noon}}
	if got := tenant.Resolve("a", tenant.Documents{Config: &c, Tiers: new(tenant.Tiers)}, time.Time{}).Boosts; got == nil || *got != want {
		t.Errorf("boosts %v, want %v", got, want)
	}

	// Each member can be changed and removed by itself, and what is written is what was read.
	for _, tt := range []struct{ patch, want string }{
		{`{}`, `{"commandsPerMinute":{"add":500,"until":"2026-01-31T13:00:00+01:00"},"userCommandsPerMinute":{"add":1,"until":"2026-01-31T12:00:00Z"}}`},
		{`{"boosts":{"userCommandsPerMinute":null}}`, `{"commandsPerMinute":{"add":500,"until":"2026-01-31T13:00:00+01:00"}}`},
		{`{"boosts":{"commandsPerMinute":{"add":7}}}`, `{"commandsPerMinute":{"add":7,"until":"2026-01-31T13:00:00+01:00"}}`},
		{`{"boosts":{"commandsPerMinute":{"until":"2026-01-31T12:00:00Z"}}}`, `{"commandsPerMinute":{"add":7,"until":"2026-01-31T12:00:00Z"}}`},
		{`{"boosts":null}`, `null`},
	} {
		if err := c.Merge([]byte(tt.patch)); err != nil {
			t.Fatalf("%s: %v", tt.patch, err)
		}
		got, err := json.Marshal(c.Boosts)
		if string(got) != tt.want || err != nil {
			t.Errorf("after %s: %s, %v, want %s", tt.patch, got, err, tt.want)
		}
	}
	if text, err := json.Marshal(c); err != nil || strings.Contains(string(text), "boosts") {
		t.Errorf("a config without boosts is written as %s, %v", text, err)
	}
}

func TestParseBoostsRefuses(t *testing.T) {
	t.Parallel()
	for doc, want := range map[string]string{
		`5`: "boosts",
		`{"commands":{"add":1,"until":"2026-01-31T12:00:00Z"}}`:                         "boosts.commands",
		`{"commandsPerMinute":5}`:                                                       "boosts.commandsPerMinute",
		`{"commandsPerMinute":{"add":500}}`:                                             "boosts.commandsPerMinute.until",
		`{"commandsPerMinute":{"until":"2026-01-31T12:00:00Z"}}`:                        "boosts.commandsPerMinute.add",
		`{"commandsPerMinute":{"add":0,"until":"2026-01-31T12:00:00Z"}}`:                "boosts.commandsPerMinute.add",
		`{"commandsPerMinute":{"add":-1,"until":"2026-01-31T12:00:00Z"}}`:               "boosts.commandsPerMinute.add",
		`{"commandsPerMinute":{"add":1000000001,"until":"2026-01-31T12:00:00Z"}}`:       "boosts.commandsPerMinute.add",
		`{"commandsPerMinute":{"add":1.5,"until":"2026-01-31T12:00:00Z"}}`:              "boosts.commandsPerMinute.add",
		`{"commandsPerMinute":{"add":1,"add":2,"until":"2026-01-31T12:00:00Z"}}`:        "boosts.commandsPerMinute.add",
		`{"commandsPerMinute":{"add":1,"until":"tomorrow"}}`:                            "boosts.commandsPerMinute.until",
		`{"commandsPerMinute":{"add":1,"until":1764187200}}`:                            "boosts.commandsPerMinute.until",
		`{"commandsPerMinute":{"add":1,"until":"0000-01-31T12:00:00Z"}}`:                "boosts.commandsPerMinute.until",
		`{"commandsPerMinute":{"add":1,"until":"9999-12-31T23:59:59-10:00"}}`:           "boosts.commandsPerMinute.until",
		`{"commandsPerMinute":{"add":1,"until":"2026-01-31T12:00:00Z","for":"2h"}}`:     "boosts.commandsPerMinute.for",
		`{"userCommandsPerMinute":{"add":1,"until":"2026-01-31T12:00:00Z","for":"2h"}}`: "boosts.userCommandsPerMinute.for",
		`{"eligibilityChecksPerHour":{"add":"1","until":"2026-01-31T12:00:00Z"}}`:       "boosts.eligibilityChecksPerHour.add",
		`{"syncRequestsPerDay":{"add":1,"until":null}}`:                                 "boosts.syncRequestsPerDay.until",
		`{"syncRequestsPerDay":{}}`:                                                     "boosts.syncRequestsPerDay.add boosts.syncRequestsPerDay.until",
		`{"syncRequestsPerDay":{"add":0,"until":null}}`:                                 "boosts.syncRequestsPerDay.add boosts.syncRequestsPerDay.until",
		`{"x":{}}`: "boosts.x",
	} {
		_, err := tenant.ParseConfig([]byte(`{"tier":"pro","boosts":` + doc + `}`))
		if diff := cmp.Diff(strings.Fields(want), faultFields(err)); diff != "" {
			t.Errorf("%s: faults (-want +got):\n%s%v", doc, diff, err)
		}
	}
}

// A limit has the boost of its name, also one that has ended. An unlimited action has none.
func TestBoost(t *testing.T) {
	t.Parallel()
	b := tenant.BoostOverride{Add: 5, Until: noon}
	c := &tenant.Config{Tier: tenant.Pro, RateLimits: tenant.LimitOverrides{EligibilityChecksPerHour: ptr(int64(0)), SyncRequestsPerDay: ptr(int64(-1))}}
	c.Boosts = &tenant.BoostOverrides{CommandsPerMinute: b, EligibilityChecksPerHour: b, SyncRequestsPerDay: b}
	resolved := tenant.Resolve("a", tenant.Documents{Config: c, Tiers: new(tenant.Tiers)}, time.Time{})
	boost, none := tenant.Boost{Add: 5, Until: noon}, tenant.Boost{}
	for a, want := range [tenant.NumActions]tenant.Boost{boost, boost, none, none} {
		if got := resolved.Boost(tenant.Action(a)); got != want {
			t.Errorf("%v has the boost %+v, want %+v", tenant.Action(a), got, want)
		}
	}
}

// Copies of a config share its boosts. What changes one leaves the other as it is.
func TestSharedBoosts(t *testing.T) {
	t.Parallel()
	const doc = `{"tier":"free","boosts":{"commandsPerMinute":{"add":5,"until":"2026-01-31T12:00:00Z","x":1},"x":1}}`
	request, err := tenant.ParseBoostRequest([]byte(`{"rateLimits":{"commandsPerMinute":500},"for":"1h"}`))
	if err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*tenant.Config) error{
		"merge":      func(c *tenant.Config) error { return c.Merge([]byte(`{"boosts":{"commandsPerMinute":{"add":7}}}`)) },
		"merge null": func(c *tenant.Config) error { return c.Merge([]byte(`{"boosts":{"commandsPerMinute":null}}`)) },
		"begin":      func(c *tenant.Config) error { request.Begin(c, noon); return nil },
		"drop ended": func(c *tenant.Config) error { c.DropEndedBoosts(noon); return nil },
		"end":        func(c *tenant.Config) error { c.EndBoosts(); return nil },
		"known":      func(c *tenant.Config) error { *c = *c.Known(); return nil },
	} {
		c, err := tenant.ParseStored[tenant.Config]([]byte(doc))
		if err != nil {
			t.Fatal(err)
		}
		before, changed := *c.Boosts, c
		if err := change(&changed); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if diff := cmp.Diff(before, *c.Boosts); diff != "" {
			t.Errorf("%s: the other config has changed (-want +got):\n%s", name, diff)
		}
		if changed.Boosts != nil && cmp.Equal(before, *changed.Boosts) {
			t.Errorf("%s: nothing has changed", name)
		}
	}
}
