package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"arrakis/loadtest/testserver"
	"arrakis/pipeline/contract"
	"arrakis/pipeline/discord"
	"arrakis/shard"
)

func TestDevLimitsAFreeCommunity(t *testing.T) {
	t.Parallel()
	d := startDev(t)
	for want := int64(9); want >= 0; want-- {
		r := d.command(t, "comm_099", "ping", "{}")
		o := r.outcome(t)
		if r.status != http.StatusOK || o.RateLimit == nil || o.RateLimit.Remaining != want || o.Tier != "free" {
			t.Fatalf("status %d, body %s; want remaining %d", r.status, r.body, want)
		}
		if got := r.header.Get("RateLimit-Policy"); got != `"command";q=10;w=60` {
			t.Errorf("RateLimit-Policy: %s", got)
		}
		if got := r.header.Get("RateLimit"); !strings.HasPrefix(got, fmt.Sprintf(`"command";r=%d;t=`, want)) {
			t.Errorf("RateLimit: %s", got)
		}
	}
	r := d.command(t, "comm_099", "ping", "{}")
	wait, err := strconv.Atoi(r.header.Get("Retry-After"))
	if r.status != http.StatusTooManyRequests || err != nil || wait < 1 || wait > 60 {
		t.Errorf("the 11th: status %d, Retry-After %q, body %s", r.status, r.header.Get("Retry-After"), r.body)
	}
	if got := r.header.Get("Content-Type"); got != "application/problem+json" {
		t.Errorf("Content-Type: %s", got)
	}

	send := arrakis(t, d.env(), "send", "comm_099", "ping")
	if send.code != exitFailed || !strings.Contains(send.stdout, "rate_limited") {
		t.Errorf("send: exit code %d, %s%s", send.code, send.stdout, send.stderr)
	}
	usage := arrakis(t, d.env(), "usage", "comm_099", "--json")
	var used shard.Usage
	if err := json.Unmarshal([]byte(usage.stdout), &used); err != nil || usage.code != exitDone {
		t.Fatalf("usage: %v, %+v", err, usage)
	}
	if u := used.Actions[0]; u.Action != "command" || u.Used != 10 || u.Limit != 10 || u.Remaining != 0 || u.ResetMS <= 0 {
		t.Errorf("usage: %+v", u)
	}

	if r := arrakis(t, d.env(), "reset", "comm_099", "command"); r.code != exitDone {
		t.Errorf("reset: %+v", r)
	}
	testserver.Eventually(t, "the worker has heard of the reset", func() bool {
		return d.command(t, "comm_099", "ping", "{}").status == http.StatusOK
	})
}

func TestDevNeverLimitsEnterprise(t *testing.T) {
	t.Parallel()
	d := startDev(t)
	for range 150 {
		r := d.command(t, "comm_000", "echo", `{"n":[1,2]}`)
		o := r.outcome(t)
		if r.status != http.StatusOK || string(o.Result) != `{"n":[1,2]}` || o.RateLimit.Limit != -1 || r.header.Get("RateLimit") != "" {
			t.Fatalf("status %d, %v, body %s", r.status, r.header, r.body)
		}
	}
}

func TestDevRoutesAndBuiltins(t *testing.T) {
	t.Parallel()
	d := startDev(t)
	for _, tt := range []struct {
		path, body string
		status     int
		want       string // a part of the body
	}{
		{"/v1/commands", `{"community_id":"comm_001","data":{"command_name":"stats"}}`, 200, `"tier":"enterprise"`},
		{"/v1/commands", `{"community_id":"comm_001","data":{"command_name":"usage"}}`, 200, `"action":"sync_request"`},
		{"/v1/commands", `{"community_id":"comm_001","data":{"command_name":"echo"}}`, 200, `"result":null`},
		{"/v1/commands", `{"community_id":"comm_001","data":{"command_name":"sleep","options":{"ms":20}}}`, 200, `{"slept_ms":20}`},
		{"/v1/commands", `{"community_id":"comm_001","data":{"command_name":"sleep","options":{"ms":-1}}}`, 400, "options.ms"},
		{"/v1/commands", `{"community_id":"comm_001","data":{"command_name":"sleep"}}`, 400, "options.ms"},
		{"/v1/eligibility/checks", `{"community_id":"comm_001","user_id":"1","check_type":"single"}`, 200, `"eligible":`},
		{"/v1/eligibility/checks", `{"community_id":"comm_001","user_id":"1","check_type":"batch"}`, 200, `"eligible":`},
		{"/v1/eligibility/syncs", `{"community_id":"comm_001","check_type":"community_sync"}`, 202, "accepted"},
		{"/v1/events", `{"community_id":"comm_001","event_type":"guild.join"}`, 202, "accepted"},
		{"/v1/nothing", `{}`, 404, "not-found"},
	} {
		r := do(t, d.client, http.MethodPost, d.ingress+tt.path, tt.body)
		if r.status != tt.status || !bytes.Contains(r.body, []byte(tt.want)) {
			t.Errorf("%s %s: status %d, body %s; want %d and %s", tt.path, tt.body, r.status, r.body, tt.status, tt.want)
		}
	}
	for _, kind := range []string{"eligibility single", "sync community_sync", "event member.update", "command ping"} {
		k, name, _ := strings.Cut(kind, " ")
		if r := arrakis(t, d.env(), "send", "comm_001", name, "--kind", k); r.code != exitDone || !strings.Contains(r.stdout, "ok") {
			t.Errorf("send --kind %s %s: %+v", k, name, r)
		}
	}
	for url, want := range map[string]string{
		d.ingress + "/healthz":         `"ok"`,
		d.ops + "/readyz":              `"consumers":{"status":"ok"}`,
		d.ops + "/metrics":             "arrakis_build_info{",
		d.ops + "/debug/pprof/":        "goroutine",
		d.ingress + "/readyz":          `"status":"ready"`,
		d.ops + "/debug/pprof/cmdline": "",
	} {
		if r := do(t, d.client, http.MethodGet, url, ""); r.status != http.StatusOK || !bytes.Contains(r.body, []byte(want)) {
			t.Errorf("%s: status %d, body %.200s", url, r.status, r.body)
		}
	}
	testserver.Eventually(t, "the commands are counted", func() bool {
		r := do(t, d.client, http.MethodGet, d.ops+"/metrics", "")
		return bytes.Contains(r.body, []byte(`arrakis_tenant_commands_total{command="ping",community_id="comm_001",status="success",tier="enterprise"} 1`))
	})
}

// TestDevYieldsToAMicroService starts a service for a command that dev has built in.
func TestDevYieldsToAMicroService(t *testing.T) {
	t.Parallel()
	d := startDev(t)
	if r := d.command(t, "comm_000", "stats", "{}"); !bytes.Contains(r.body, []byte("uptime_ms")) {
		t.Errorf("the built-in: %s", r.body)
	}
	nc, _ := d.connect(t)
	_, err := nc.Subscribe("handlers.command.stats", func(m *nats.Msg) {
		_ = m.Respond([]byte(`"` + m.Header.Get(contract.HeaderTier) + ` by a service"`)) // the test sees what is missing
	})
	if err != nil {
		t.Fatal(err)
	}
	testserver.Eventually(t, "the service answers", func() bool {
		return bytes.Contains(d.command(t, "comm_000", "stats", "{}").body, []byte(`"result":"enterprise by a service"`))
	})
}

func TestDevTenants(t *testing.T) {
	t.Parallel()
	d := startDev(t)
	var listed struct{ Tenants []struct{ ID, Tier string } }
	r := arrakis(t, d.env(), "tenant", "list", "--json")
	if err := json.Unmarshal([]byte(r.stdout), &listed); err != nil || len(listed.Tenants) != demoCommunities {
		t.Fatalf("%d tenants, %v: %s", len(listed.Tenants), err, r.stderr)
	}
	tiers := map[string]int{}
	for i, l := range listed.Tenants {
		tiers[l.Tier]++
		if want := fmt.Sprintf("comm_%03d", i); l.ID != want {
			t.Errorf("tenant %d is %s, want %s", i, l.ID, want)
		}
	}
	if tiers["enterprise"] != 10 || tiers["pro"] != 20 || tiers["free"] != 70 {
		t.Errorf("tiers %v", tiers)
	}

	for range 11 {
		d.command(t, "comm_050", "ping", "{}")
	}
	if r := d.command(t, "comm_050", "ping", "{}"); r.status != http.StatusTooManyRequests {
		t.Fatalf("status %d before the upgrade", r.status)
	}
	if r := arrakis(t, d.env(), "tenant", "upgrade", "comm_050", "pro"); r.code != exitDone || !strings.Contains(r.stdout, "100 per 1m") {
		t.Fatalf("upgrade: %+v", r)
	}
	start := time.Now()
	testserver.Eventually(t, "the upgrade is in force", func() bool { return d.command(t, "comm_050", "ping", "{}").status == http.StatusOK })
	if took := time.Since(start); took > soon {
		t.Errorf("the upgrade took %s: pub/sub has not told of it", took)
	}

	r = arrakis(t, d.env(), "tenant", "set", "comm_050", "--commands", "7", "--checks=unlimited", "--feature", "prioritySupport=on")
	for _, want := range []string{"7 per 1m", "eligibility_check  unlimited", "prioritySupport"} {
		if !strings.Contains(r.stdout, want) {
			t.Errorf("tenant set does not print %q: %+v", want, r)
		}
	}
	r = arrakis(t, d.env(), "tenant", "set", "comm_050", "--commands", "default", "--data", `{"rateLimits":{"syncRequestsPerDay":3}}`, "--json")
	if strings.Contains(r.stdout, "commandsPerMinute") || !strings.Contains(r.stdout, `"syncRequestsPerDay": 3`) {
		t.Errorf("tenant set: %+v", r)
	}
	r = arrakis(t, d.env(), "tenant", "set", "comm_050", "--data", `{"tear":"pro"}`)
	if r.code != exitUsage || !strings.Contains(r.stderr, "tear") {
		t.Errorf("a misspelt member: %+v", r)
	}
	if r := arrakis(t, d.env(), "tenant", "delete", "comm_050"); r.code != exitDone {
		t.Errorf("delete: %+v", r)
	}
	if r := arrakis(t, d.env(), "tenant", "get", "comm_050"); r.code != exitFailed || !strings.Contains(r.stderr, "not found") {
		t.Errorf("get of a deleted tenant: %+v", r)
	}
}

func TestDevFlags(t *testing.T) {
	t.Parallel()
	d := startDev(t)
	features := func() string { return string(d.command(t, "comm_000", "stats", "{}").body) }
	if strings.Contains(features(), "new-ui") {
		t.Fatal("the flag is there already")
	}
	if r := arrakis(t, d.env(), "flag", "set", "new-ui", "--on", "--tiers=enterprise,pro", "--description=The new UI"); r.code != exitDone {
		t.Fatalf("flag set: %+v", r)
	}
	testserver.Eventually(t, "the flag is in force", func() bool { return strings.Contains(features(), `"new-ui"`) })
	if r := arrakis(t, d.env(), "flag", "set", "new-ui", "--exclude=comm_000"); !strings.Contains(r.stdout, "The new UI") {
		t.Errorf("what was not given must stay: %+v", r)
	}
	testserver.Eventually(t, "the exception is in force", func() bool { return !strings.Contains(features(), "new-ui") })
	if r := arrakis(t, d.env(), "flag", "list"); !strings.Contains(r.stdout, "enterprise, pro") {
		t.Errorf("flag list: %+v", r)
	}
	if r := arrakis(t, d.env(), "flag", "delete", "new-ui"); r.code != exitDone {
		t.Errorf("flag delete: %+v", r)
	}
	if r := arrakis(t, d.env(), "flag", "get", "new-ui"); r.code != exitFailed {
		t.Errorf("flag get: %+v", r)
	}
	if r := arrakis(t, d.env(), "reload"); r.code != exitDone {
		t.Errorf("reload: %+v", r)
	}
}

// TestBadMessagesAreDeadLettered publishes every bad fixture while good traffic goes on.
func TestBadMessagesAreDeadLettered(t *testing.T) {
	t.Parallel()
	d := startDev(t)
	nc, js := d.connect(t)
	letters, err := nc.SubscribeSync("deadletter.>")
	if err != nil {
		t.Fatal(err)
	}
	bad := testserver.Fixtures(t, "bad")
	want := map[string]string{} // body, as it is kept, to reason
	for name, body := range bad {
		reason := "malformed"
		if name == "no-community.json" {
			reason = "no_community"
		}
		want[string(discord.Redact(body))] = reason
		if _, err := js.Publish(t.Context(), "commands.interaction", body); err != nil {
			t.Fatal(err)
		}
		if r := d.command(t, "comm_000", "ping", "{}"); r.status != http.StatusOK {
			t.Errorf("good traffic: status %d, %s", r.status, r.body)
		}
	}
	for range bad {
		m, err := letters.NextMsg(testserver.Patience)
		if err != nil {
			t.Fatalf("%v; still missing: %q", err, want)
		}
		reason, known := want[string(m.Data)]
		if !known || m.Subject != "deadletter.COMMANDS."+reason || m.Header.Get(contract.HeaderReason) != reason || m.Header.Get(contract.HeaderError) == "" {
			t.Errorf("%s %v: %.100q", m.Subject, m.Header, m.Data)
		}
		delete(want, string(m.Data))
	}
	if len(want) > 0 {
		t.Errorf("missing: %q", want)
	}
}

func TestGoodFixturesAreHandled(t *testing.T) {
	t.Parallel()
	d := startDev(t, "--max-attempts=1", "--retry-backoff=1m") // so that a sender is told at once that there is no handler
	for name, body := range testserver.Fixtures(t, "good") {
		route := "/v1/commands"
		switch {
		case strings.HasPrefix(name, "eligibility-check"):
			route = "/v1/eligibility/checks"
		case strings.HasPrefix(name, "eligibility-sync"):
			route = "/v1/eligibility/syncs"
		case strings.HasPrefix(name, "guild"), strings.HasPrefix(name, "member"):
			route = "/v1/events"
		}
		r := do(t, d.client, http.MethodPost, d.ingress+route, string(body))
		// Dev has no handler for some of the fixtures' commands, and says so.
		noHandler := r.status >= http.StatusInternalServerError && bytes.Contains(r.body, []byte("no handler"))
		if r.status != http.StatusOK && r.status != http.StatusAccepted && !noHandler {
			t.Errorf("%s: status %d, %s", name, r.status, r.body)
		}
	}
}

// TestDrain stops dev while a command is being handled.
func TestDrain(t *testing.T) {
	t.Parallel()
	d := startDev(t)
	nc, _ := d.connect(t)
	began, err := nc.SubscribeSync("commands.interaction.comm_000")
	if err == nil {
		err = nc.Flush()
	}
	if err != nil {
		t.Fatal(err)
	}
	var inFlight response
	var wg sync.WaitGroup
	wg.Go(func() { inFlight = d.command(t, "comm_000", "sleep", `{"ms":300}`) })
	if _, err := began.NextMsg(testserver.Patience); err != nil {
		t.Fatal(err)
	}
	d.stop()
	wg.Wait()
	if inFlight.status != http.StatusOK || !bytes.Contains(inFlight.body, []byte("slept_ms")) {
		t.Errorf("the request in flight: status %d, %s", inFlight.status, inFlight.body)
	}
	if code := d.exit(t); code != exitDone {
		t.Errorf("exit code %d", code)
	}
}
