package main

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"arrakis/pipeline/view"
	"arrakis/tenant"
	"arrakis/tenant/store"
)

// laidOut is what build makes for people.
func laidOut(build func(t *table)) string {
	var b bytes.Buffer
	t := &table{w: &b}
	build(t)
	t.flush()
	return b.String()
}

func checkText(t *testing.T, got, want string) {
	t.Helper()
	if diff := cmp.Diff(want, "\n"+got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

// TestTable: a row with fewer cells leaves the columns of the others as they are, and no line ends with spaces.
func TestTable(t *testing.T) {
	checkText(t, laidOut(func(t *table) {
		t.row("NAME", "N", "TEXT")
		t.row("ä", "10", "")
		t.row("broken", "it says why, at length")
		t.row("long name", "2", "a\tb")
		t.row("")
		t.row("there are more, as a longer line says")
	}), `
NAME       N   TEXT
ä          10
broken     it says why, at length
long name  2   a?b

there are more, as a longer line says
`)
}

func TestListRow(t *testing.T) {
	checkText(t, laidOut(func(t *table) {
		t.row("eligibility_check", "-")
		t.listRow("included", nil)
		t.listRow("features", allFeatures)
	}), `
eligibility_check  -
included           none
features           customBranding, advancedAnalytics, prioritySupport,
                   unlimitedCommands
`)
	checkText(t, laidOut(func(t *table) {
		t.row("flag", "f")
		t.listRow("included", []string{strings.Repeat("a", 50), "b\t", strings.Repeat("c", 20), strings.Repeat("d", 90), "e"})
	}), `
flag      f
included  `+strings.Repeat("a", 50)+`, b?,
          `+strings.Repeat("c", 20)+`,
          `+strings.Repeat("d", 90)+`,
          e
`)
}

func TestStatusStaysAligned(t *testing.T) {
	var all view.Streams
	all.Streams = []view.Stream{{Stream: "EVENTS"}, {Stream: "ELIGIBILITY", Exists: true, Consumers: []view.Consumer{
		{Consumer: "eligibility-worker", Pending: 12345678, Leader: "n1"},
		{Consumer: "sync-worker", Fault: "does not answer: has it a leader?"},
		{Consumer: "x", Pending: 1, Leader: "n2"},
	}}}
	checkText(t, laidOut(func(t *table) { statusTable(t, all.Streams) }), `
STREAM       MESSAGES  BYTES  BOUND  OLDEST  DROPPED  SETTINGS
EVENTS       -         -      -      -       -        missing
ELIGIBILITY  0         0 B    -      -       ?        as wanted

CONSUMER            PENDING   UNACKED  REDELIVERED  LEADER
eligibility-worker  12345678  0        0            n1
sync-worker         does not answer: has it a leader?
x                   1         0        0            n2
`)
}

// TestTenantsFit: tables of tenants and tiers fit into 80 columns.
func TestTenantsFit(t *testing.T) {
	million := int64(100_000_000)
	own := tenant.Config{Tier: tenant.Enterprise, RateLimits: tenant.LimitOverrides{
		CommandsPerMinute: &million, EligibilityChecksPerHour: &million, SyncRequestsPerDay: &million,
	}, CreatedAt: time.Unix(1700000000, 0)}
	entries := []store.Entry{
		{ID: "1234567890123456789", Config: own},
		{ID: "comm_001", Config: tenant.Config{Tier: tenant.Pro}},
		{ID: "comm_002", Err: store.ErrNotFound},
	}
	tiers := &tenant.Tiers{}
	list := laidOut(func(t *table) { listTable(t, tiers, entries, "") })
	checkFits(t, list)
	checkText(t, list, `
COMMUNITY            TIER        COMMANDS/MIN  CHECKS/H   SYNCS/DAY  FEATURES
1234567890123456789  enterprise  100000000     100000000  100000000  4 of 4
comm_001             pro         100           1000       10         2 of 4
comm_002             cannot be used: see `+"`arrakis tenant get comm_002`"+`
`)
	one := laidOut(func(t *table) { tenantTable(t, "g", tenant.Documents{Config: &own, Tiers: tiers}) })
	checkFits(t, one)
	all := laidOut(func(t *table) { tiersTable(t, tiers) })
	checkFits(t, all)
	checkText(t, all, `
                   FREE        PRO          ENTERPRISE
weight             1           2            4
command            10 per 1m   100 per 1m   unlimited
eligibility_check  100 per 1h  1000 per 1h  unlimited
sync_request       1 per 24h   10 per 24h   unlimited
user_command       unlimited   unlimited    unlimited
customBranding     off         on           on
advancedAnalytics  off         on           on
prioritySupport    off         off          on
unlimitedCommands  off         off          on
`)
	delay := tenant.Delay
	tiers.Pro.OnLimit.EligibilityCheck = &delay
	all = laidOut(func(t *table) { tiersTable(t, tiers) })
	checkFits(t, all)
	if want := "eligibility_check delayed  -           up to 100    -\n"; !strings.Contains(all, want) {
		t.Errorf("tiers:\n%swant %s", all, want)
	}
	pro := tenant.Config{Tier: tenant.Pro}
	one = laidOut(func(t *table) { tenantTable(t, "g", tenant.Documents{Config: &pro, Tiers: tiers}) })
	if want := "eligibility_check delayed  up to 100\n"; !strings.Contains(one, want) {
		t.Errorf("tenant:\n%swant %s", one, want)
	}
}
