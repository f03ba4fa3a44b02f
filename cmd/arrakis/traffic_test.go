package main

import (
	"maps"
	"net/http"
	"regexp"
	"slices"
	"testing"

	"arrakis/loadtest/testserver"
)

// TestTraffic: the demo traffic shows every kind of thing that an operator looks for.
func TestTraffic(t *testing.T) {
	t.Parallel()
	d := startDev(t, "--traffic", "--traffic-rate=500", "--retry-backoff=10ms", "--max-attempts=2")
	wanted := map[string]*regexp.Regexp{
		"commands that succeed":      regexp.MustCompile(`arrakis_tenant_commands_total\{.*status="success".*\} [1-9]`),
		"commands over their limits": regexp.MustCompile(`arrakis_tenant_commands_total\{.*status="rate_limited".*\} [1-9]`),
		"commands that fail":         regexp.MustCompile(`arrakis_retries_total\{.*\} [1-9]`),
		"checks":                     regexp.MustCompile(`arrakis_tenant_eligibility_checks_total\{.*check_type="single".*\} [1-9]`),
		"syncs":                      regexp.MustCompile(`arrakis_tenant_eligibility_checks_total\{.*check_type="community_sync".*\} [1-9]`),
		"malformed messages":         regexp.MustCompile(`arrakis_dead_letters_total\{reason="malformed",stream="COMMANDS"\} [1-9]`),
		"exhausted messages":         regexp.MustCompile(`arrakis_dead_letters_total\{reason="attempts_exhausted",stream="COMMANDS"\} [1-9]`),
		"a lane":                     regexp.MustCompile(`arrakis_lanes [1-9]`), // while it lasts
	}
	defer func() {
		if len(wanted) > 0 {
			t.Errorf("not seen: %v", slices.Collect(maps.Keys(wanted)))
		}
	}()
	testserver.Eventually(t, "all of it is seen", func() bool {
		metrics := do(t, d.client, http.MethodGet, d.ops+"/metrics", "").body
		maps.DeleteFunc(wanted, func(_ string, want *regexp.Regexp) bool { return want.Match(metrics) })
		return len(wanted) == 0
	})
}
