package tenant_test

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"arrakis/tenant"
)

func TestBoostRequest(t *testing.T) {
	t.Parallel()
	r, err := tenant.ParseBoostRequest([]byte(`{"rateLimits":{"commandsPerMinute":500,"userCommandsPerMinute":1},"for":"1h30m"}`))
	if err != nil {
		t.Fatal(err)
	}
	other := tenant.BoostOverride{Add: 3, Until: noon}
	c := tenant.Config{Boosts: &tenant.BoostOverrides{CommandsPerMinute: other, SyncRequestsPerDay: other}}
	r.Begin(&c, noon)
	end := noon.Add(90 * 60e9)
	want := &tenant.BoostOverrides{
		CommandsPerMinute:     tenant.BoostOverride{Add: 500, Until: end},
		SyncRequestsPerDay:    other,
		UserCommandsPerMinute: tenant.BoostOverride{Add: 1, Until: end},
	}
	if diff := cmp.Diff(want, c.Boosts); diff != "" {
		t.Errorf("boosts (-want +got):\n%s", diff)
	}
}

func TestBoostRequestRefuses(t *testing.T) {
	t.Parallel()
	const one = `"rateLimits":{"commandsPerMinute":1}`
	for doc, fields := range map[string][]string{
		``:                             {""},
		`[]`:                           {""},
		`{}`:                           {"for", "rateLimits"},
		`{"rateLimits":{},"for":"1h"}`: {"rateLimits"},
		`{"rateLimits":{"commandsPerMinute":null},"for":"1h"}`:                               {"rateLimits"},
		`{"rateLimits":{"commandsPerMinute":0},"for":"1h"}`:                                  {"rateLimits.commandsPerMinute"},
		`{"rateLimits":{"commandsPerMinute":-1,"syncRequestsPerDay":1000000001},"for":"1h"}`: {"rateLimits.commandsPerMinute", "rateLimits.syncRequestsPerDay"},
		`{"rateLimits":{"commandsPerMinute":"1"},"for":"1h"}`:                                {"rateLimits.commandsPerMinute"},
		`{"rateLimits":{"commands":1},"for":"1h"}`:                                           {"rateLimits.commands"},
		`{` + one + `}`:                          {"for"},
		`{` + one + `,"for":"999ms"}`:            {"for"},
		`{` + one + `,"for":"744h1s"}`:           {"for"},
		`{` + one + `,"for":"-2h"}`:              {"for"},
		`{` + one + `,"for":"2 hours"}`:          {"for"},
		`{` + one + `,"for":3600}`:               {"for"},
		`{` + one + `,"for":"1h","until":"now"}`: {"until"},
	} {
		_, err := tenant.ParseBoostRequest([]byte(doc))
		got := faultFields(err)
		slices.Sort(got)
		if diff := cmp.Diff(fields, got); diff != "" {
			t.Errorf("%s: faults (-want +got):\n%s%v", doc, diff, err)
		}
	}
}
