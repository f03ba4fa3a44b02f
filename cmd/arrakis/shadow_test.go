package main

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"arrakis/loadtest/testserver"
)

// TestDevShadow: a community in shadow mode gets everything and sees no limit, while the metrics count what would be
// rejected. The mode of a tenant or of a tier is in force before the poll could have found it.
func TestDevShadow(t *testing.T) {
	t.Parallel()
	d := startDev(t)
	const text = "mode               shadow: limits are counted, not enforced\n"
	if r := arrakis(t, d.env(), "tenant", "set", "comm_060", "--mode=shadow", "--commands=3"); r.code != exitDone || !strings.Contains(r.stdout, text) {
		t.Fatalf("tenant set: %+v, want %q", r, text)
	}
	for i := range 5 {
		r := d.command(t, "comm_060", "ping", "{}")
		if r.status != http.StatusOK || r.header.Get("RateLimit") != "" || !strings.Contains(string(r.body), `"limit":-1,"remaining":-1`) {
			t.Fatalf("command %d: %d %v %s", i, r.status, r.header, r.body)
		}
	}
	limited := `arrakis_tenant_commands_total{command="ping",community_id="comm_060",status="shadow_limited",tier="free"} 2`
	testserver.Eventually(t, "two are counted as shadow_limited", func() bool {
		return strings.Contains(string(do(t, d.client, http.MethodGet, d.ops+"/metrics", "").body), limited)
	})
	if r := d.printed(t, "usage comm_060"); !strings.Contains(r, `"mode":"shadow"`) || !strings.Contains(r, `"used":3,"limit":3,"remaining":0`) {
		t.Errorf("usage: %s", r)
	}
	if r := arrakis(t, d.env(), "usage", "comm_060"); !strings.Contains(r.stdout, "shadow: limits are counted, not enforced\n") {
		t.Errorf("usage: %s", r.stdout)
	}

	set := func(line string, want int) {
		t.Helper()
		if r := arrakis(t, d.env(), strings.Fields(line)...); r.code != exitDone {
			t.Errorf("%s: %+v", line, r)
		}
		testserver.Eventually(t, fmt.Sprintf("%s: commands get %d", line, want), func() bool { return d.command(t, "comm_060", "ping", "{}").status == want })
	}
	set("tenant set comm_060 --mode=enforce", http.StatusTooManyRequests)
	set(`tiers set {"free":{"mode":"shadow"}}`, http.StatusTooManyRequests)
	set("tenant set comm_060 --mode=default", http.StatusOK)
	if r := arrakis(t, d.env(), "tiers", "get"); !strings.Contains(r.stdout, "\nmode               shadow      enforce      enforce\n") {
		t.Errorf("tiers get: %s", r.stdout)
	}
	set("tiers set {}", http.StatusTooManyRequests)
}
