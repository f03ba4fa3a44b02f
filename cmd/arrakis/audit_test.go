package main

import (
	"bytes"
	"os"
	"os/user"
	"regexp"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"arrakis/loadtest/testserver"
	"arrakis/pipeline/view"
	"arrakis/tenant/store"
)

// The audit log names the user and the host of a command line, and says what each command has changed.
func TestAudit(t *testing.T) {
	t.Parallel()
	env := environment{"REDIS_URL": "redis://" + testserver.Redis(t).Addr()}
	for _, command := range []string{
		"tenant set comm_1 --tier pro --commands 7", "tenant upgrade comm_1 free", "flag set f --on --include comm_1,comm_2",
		"flag set f --include comm_2", "tiers set {}", "reset comm_1", "reload", "tenant delete comm_1", "flag delete f",
	} {
		if r := arrakis(t, env, strings.Fields(command)...); r.code != exitDone {
			t.Fatalf("%s: %+v", command, r)
		}
	}
	u, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	host, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	who := "cli:" + u.Username + " from " + host
	got := arrakis(t, env, "audit").stdout
	if n := strings.Count(got, who+"\n"); n != 9 {
		t.Errorf("%d changes by %s, want 9:\n%s", n, who, got)
	}
	got = strings.ReplaceAll(got, who, "WHO")
	for _, lines := range []string{
		`WHEN +WHAT +WHO`,
		`Z  flag f +WHO\n {22}deleted`,
		`Z  reload +WHO\n {22}everything is read again`,
		`Z  reset comm_1 +WHO\n {22}reset: command, eligibility_check, sync_request,\n {22}user_command`,
		`Z  flag f +WHO\n {22}communities.include: −comm_1`,
		`Z  tenant comm_1 +WHO\n {22}rateLimits.commandsPerMinute: 7 → not set\n {22}tier: pro → free`,
		`Z  tenant comm_1 +WHO\n {22}created`,
	} {
		if !regexp.MustCompile(`(?m)` + lines + `$`).MatchString(got) {
			t.Errorf("no lines %s in\n%s", lines, got)
		}
	}
	if r := arrakis(t, env, "audit", "--target=f", "--type=flag", "--limit=1"); strings.Count(r.stdout, "Z ") != 1 || !strings.Contains(r.stdout, "there are more: --cursor ") {
		t.Errorf("one of the changes of f: %s", r.stdout)
	}
	if r := arrakis(t, env, "audit", "--target=nobody"); r.stdout != "no changes\n" {
		t.Errorf("the changes of nobody: %s", r.stdout)
	}
	for _, wrong := range []string{"--type=x", "--cursor=x", "--since=yesterday", "a/b", "comm_1 --target=f"} {
		if r := arrakis(t, env, strings.Fields("audit "+wrong)...); r.code != exitUsage {
			t.Errorf("%s: %+v", wrong, r)
		}
	}
	for since, want := range map[string]int{"1h": 9, "2026-11-01": 9, "0s": 0} {
		if r := arrakis(t, env, "audit", "--since", since); strings.Count(r.stdout, "Z ") != want {
			t.Errorf("since %s: %s", since, r.stdout)
		}
	}
	if r := arrakis(t, env, "audit", "comm_1"); strings.Count(r.stdout, "Z  tenant comm_1") != 3 || strings.Count(r.stdout, "Z ") != 4 {
		t.Errorf("the changes of comm_1: %s", r.stdout)
	}
}

// Each run of a command has an ID, which --json shows.
func TestAuditOfRuns(t *testing.T) {
	t.Parallel()
	env := environment{"REDIS_URL": "redis://" + testserver.Redis(t).Addr()}
	for range 2 {
		if r := arrakis(t, env, "reload"); r.code != exitDone {
			t.Fatalf("%+v", r)
		}
	}
	var page view.Audit
	if r := arrakis(t, env, "audit", "--json"); json.Unmarshal([]byte(r.stdout), &page) != nil || len(page.Entries) != 2 {
		t.Fatalf("%+v", r)
	}
	if a, b := page.Entries[0].RequestID, page.Entries[1].RequestID; len(a) != 36 || len(b) != 36 || a == b {
		t.Errorf("the IDs of two runs are %q and %q", a, b)
	}
}

// The list fits into 80 columns, whatever the names and the documents.
func TestAuditIsNarrow(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("a", 128)
	entry := func(after string) view.AuditEntry {
		return view.AuditEntry{Type: store.AuditTenant, Target: long, Actor: "console:admin", From: long, After: jsontext.Value(after)}
	}
	var out bytes.Buffer
	document := view.Audit{Entries: []view.AuditEntry{
		entry(`{"tier":"` + long + `","features":{"` + long + `":true}}`), entry(`["` + strings.Repeat(`one","`, 50) + `"]`), entry(`" "`),
		{Type: store.AuditReload, Actor: "api:admin", From: "2001:db8:85a3:8d3:1319:8a2e:370:7348", At: time.Unix(0, 0)},
	}}
	if err := (outputFlags{}).print(&out, document, func(t *table) { auditTable(t, document) }); err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(out.String()) {
		if utf8.RuneCountInString(line) > width+1 {
			t.Errorf("wider than %d columns: %s", width, line)
		}
	}
	if t.Failed() {
		t.Logf("\n%s", out.String())
	}
}
