package main

import (
	"net/http"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/go-json-experiment/json"

	"arrakis/pipeline/view"
	"arrakis/shard"
	"arrakis/tenant"
)

// TestDevExplain: the command line and the API say why a command would be rejected: which document decided its limit, what is
// used, and when a permit is free. Asking costs nothing.
func TestDevExplain(t *testing.T) {
	t.Parallel()
	d := startDev(t)
	for _, line := range []string{
		`tiers set {"free":{"rateLimits":{"commandsPerMinute":20},"onLimit":"delay"}}`, "tenant set comm_060 --commands=2",
		"tenant boost comm_060 --commands=+1 --for=1h", "tenant set comm_060 --on-limit=reject", "flag set new-ui --on --include comm_060",
	} {
		if r := arrakis(t, d.env(), strings.Fields(line)...); r.code != exitDone {
			t.Fatalf("%s: %+v", line, r)
		}
	}
	explained := func() (e view.Explanation) {
		t.Helper()
		r := do(t, d.client, http.MethodGet, d.ops+"/v1/tenants/comm_060/explain?command=ping&user=42", "")
		if err := json.Unmarshal(r.body, &e); err != nil || r.status != http.StatusOK {
			t.Fatalf("%d %s, %v", r.status, r.body, err)
		}
		return e
	}
	allowed := 0
	for range 10 {
		before := explained()
		answer := d.command(t, "comm_060", "ping", "{}")
		want := http.StatusTooManyRequests
		if before.Verdict.Decision == shard.Allowed {
			allowed, want = allowed+1, http.StatusOK
		}
		if answer.status != want {
			t.Fatalf("explained as %+v, answered %d", before.Verdict, answer.status)
		}
	}
	e := explained()
	limit := e.Limits[tenant.Command]
	if allowed < 2 || allowed > 3 || limit.Use.Used != int64(allowed) || limit.Limit.Source != tenant.FromBoost || limit.Limit.Value != 3 ||
		len(limit.Limit.Beneath) != 3 || e.Verdict.RetryAfterMS <= 0 || e.Command != "ping" || e.User != "42" {
		t.Errorf("%d allowed, explained as %+v", allowed, e)
	}
	r := arrakis(t, d.env(), "explain", "comm_060", "ping", "--user=42")
	for _, want := range []string{
		"command    It would be rejected now: the community has used 3 of 3 commands of\n", "boost, over 2 (tenant),\n", " 20 (tiers), 10 (default)\n",
		"new-ui", "flag: the community is included\n", "customBranding",
	} {
		if r.code != exitDone || !strings.Contains(r.stdout, want) {
			t.Errorf("explain prints no %q:\n%s%s", want, r.stdout, r.stderr)
		}
	}
	for line := range strings.Lines(r.stdout) {
		if utf8.RuneCountInString(line) > width+1 {
			t.Errorf("explain prints more than %d columns: %s", width, line)
		}
	}
	if r := arrakis(t, d.env(), "explain", "nobody", "ping"); !strings.HasPrefix(r.stdout, "community  nobody (free: no config is stored)\n") {
		t.Errorf("explain of a community without a config: %+v", r)
	}
	for line, request := range map[string]string{
		"explain a.b ping": "/v1/tenants/a.b/explain", "explain c1 Ping": "/v1/tenants/c1/explain?command=Ping",
		"explain c1 ping --user=a.b": "/v1/tenants/c1/explain?user=a.b", "": "/v1/tenants/c1/explain?users=1",
	} {
		if answer := do(t, d.client, http.MethodGet, d.ops+request, ""); answer.status != http.StatusBadRequest {
			t.Errorf("%s: %d %s", request, answer.status, answer.body)
		}
		if line == "" {
			continue
		}
		if r := arrakis(t, d.env(), strings.Fields(line)...); r.code != exitUsage {
			t.Errorf("%s: %+v", line, r)
		}
	}
}
