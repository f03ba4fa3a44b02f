package main

import (
	"bytes"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"

	"arrakis/loadtest/testserver"
	"arrakis/pipeline/contract"
	"arrakis/pipeline/deadletter"
	"arrakis/shard"
)

// TestValidatesAlike gives the same mistakes to the command line and to the admin API, which must answer with the same
// words.
func TestValidatesAlike(t *testing.T) {
	t.Parallel()
	d := startDev(t)
	for _, tt := range []struct{ cli, request, body string }{
		{"tenant set c1 --tier gold", "PATCH /v1/tenants/c1", `{"tier":"gold"}`},
		{"tenant set c1 --data {\"tier\":\"gold\"}", "PATCH /v1/tenants/c1", `{"tier":"gold"}`},
		{"tenant upgrade c1 gold", "PATCH /v1/tenants/c1", `{"tier":"gold","rateLimits":null,"features":null}`},
		{"tenant set c1 --commands=-2", "PATCH /v1/tenants/c1", `{"rateLimits":{"commandsPerMinute":-2}}`},
		{"tenant set c1 --checks=-2 --user 1000000001", "PATCH /v1/tenants/c1", `{"rateLimits":{"eligibilityChecksPerHour":-2,"userCommandsPerMinute":1000000001}}`},
		{"tenant set c1 --data {\"tear\":\"pro\"}", "PATCH /v1/tenants/c1", `{"tear":"pro"}`},
		{"tenant set c1 --data {\"rateLimits\":{\"commands\":1,\"syncRequestsPerDay\":-2}}", "PATCH /v1/tenants/c1", `{"rateLimits":{"commands":1,"syncRequestsPerDay":-2}}`},
		{"tenant set c1 --feature branding=on", "PATCH /v1/tenants/c1", `{"features":{"branding":true}}`},
		{"tenant set c1 --on-limit wait --max-delayed 0", "PATCH /v1/tenants/c1", `{"onLimit":"wait","maxDelayed":0}`},
		{"tenant set c1 --data {\"onLimit\":{\"commands\":\"delay\"}}", "PATCH /v1/tenants/c1", `{"onLimit":{"commands":"delay"}}`},
		{"tenant set c1 --mode off", "PATCH /v1/tenants/c1", `{"mode":"off"}`},
		{"tenant set c1 --guild a.b", "PATCH /v1/tenants/c1", `{"guildId":"a.b"}`},
		{"tenant set c1 --data {\"tier\":null}", "PATCH /v1/tenants/c1", `{"tier":null}`},
		{"tenant set c1 --data {\"tier\":\"pro\",\"tier\":\"free\"}", "PATCH /v1/tenants/c1", `{"tier":"pro","tier":"free"}`},
		{"account set acme --tier gold --counted both", "PATCH /v1/accounts/acme", `{"tier":"gold","counted":"both"}`},
		{"account set acme --name a\u200bb --max-delayed 0", "PATCH /v1/accounts/acme", `{"name":"a\u200bb","maxDelayed":0}`},
		{"account get a.b", "GET /v1/accounts/a.b", ""},
		{"account communities a.b", "GET /v1/accounts/a.b/communities", ""},
		{"tenant set c1 --account a.b", "PATCH /v1/tenants/c1", `{"account":"a.b"}`},
		{"flag set f1 --tiers gold --rollout 101", "PUT /v1/flags/f1", `{"tiers":["gold"],"rolloutPercent":101}`},
		{"flag set f1 --include a.b --exclude c.d", "PUT /v1/flags/f1", `{"communities":{"include":["a.b"],"exclude":["c.d"]}}`},
		{"usage a.b", "GET /v1/tenants/a.b/usage", ""},
		{"reset a.b", "DELETE /v1/tenants/a.b/usage", ""},
		{"reset c1 commands", "DELETE /v1/tenants/c1/usage/commands", ""},
	} {
		r := arrakis(t, d.env(), strings.Fields(tt.cli)...)
		method, path, _ := strings.Cut(tt.request, " ")
		q := do(t, d.client, method, d.ops+path, tt.body)
		var p struct {
			Errors []struct{ Field, Detail string }
		}
		if err := json.Unmarshal(q.body, &p); err != nil || q.status != http.StatusBadRequest || r.code != exitUsage || len(p.Errors) == 0 {
			t.Errorf("%s: exit code %d, %s; %s: %d %s", tt.cli, r.code, r.stderr, tt.request, q.status, q.body)
			continue
		}
		var want strings.Builder
		for _, e := range p.Errors {
			want.WriteString("arrakis: " + e.Field + ": " + e.Detail + "\n")
		}
		if diff := cmp.Diff(want.String(), r.stderr); diff != "" {
			t.Errorf("%s (-admin API +command line)\n%s", tt.cli, diff)
		}
	}
}

// soon is far below the interval of the poll, 30 s, and far above the second within which pub/sub tells of a change: a
// loaded machine may take longer.
const soon = 10 * time.Second

// TestAdminChangesAreInForce makes every kind of change by HTTP, and looks for it where commands are answered, before
// the poll could have found it.
func TestAdminChangesAreInForce(t *testing.T) {
	t.Parallel()
	d := startDev(t)
	api := func(request, body string) response {
		t.Helper()
		method, path, _ := strings.Cut(request, " ")
		r := do(t, d.client, method, d.ops+path, body)
		if r.status >= 300 {
			t.Errorf("%s: status %d: %s", request, r.status, r.body)
		}
		return r
	}
	inForce := func(what string, ok func() bool) {
		t.Helper()
		start := time.Now()
		testserver.Eventually(t, what, ok)
		if took := time.Since(start); took > soon {
			t.Errorf("%s: it took %s: pub/sub has not told of it", what, took)
		}
	}
	admitted := func() bool { return d.command(t, "comm_060", "ping", "{}").status == http.StatusOK }
	for range 10 {
		admitted()
	}
	if admitted() {
		t.Fatal("the 11th is admitted")
	}
	var used shard.Usage
	if err := json.Unmarshal(api("GET /v1/tenants/comm_060/usage", "").body, &used); err != nil || used.Actions[0].Used != 10 || used.Degraded {
		t.Errorf("usage %+v, %v", used, err)
	}
	api("POST /v1/tenants/comm_060/boost", `{"rateLimits":{"commandsPerMinute":5},"for":"1h"}`)
	inForce("the boost", admitted)
	if err := json.Unmarshal(api("GET /v1/tenants/comm_060/usage", "").body, &used); err != nil || used.Actions[0].Limit != 15 {
		t.Errorf("usage %+v, %v", used, err)
	}
	if b := used.Actions[0].Boost; b == nil || b.Add != 5 || b.LeftMS <= 0 || b.LeftMS > time.Hour.Milliseconds() {
		t.Errorf("boost %+v, want 5 for an hour", b)
	}
	api("DELETE /v1/tenants/comm_060/boost", "")
	inForce("the end of the boost", func() bool { return !admitted() })
	api("DELETE /v1/tenants/comm_060/usage/command", "")
	inForce("the reset", admitted)
	api("PATCH /v1/tenants/comm_060", `{"rateLimits":{"commandsPerMinute":0}}`)
	inForce("a limit of none", func() bool { return !admitted() })
	api("PATCH /v1/tenants/comm_060", `{"tier":"pro","rateLimits":null}`)
	inForce("the upgrade", admitted)
	api("PUT /v1/accounts/acme", `{"tier":"free","counted":"together","rateLimits":{"commandsPerMinute":0}}`)
	api("PATCH /v1/tenants/comm_060", `{"account":"acme"}`)
	inForce("the account", func() bool { return !admitted() })
	api("PATCH /v1/accounts/acme", `{"rateLimits":null}`)
	inForce("a change of the account", admitted)
	api("DELETE /v1/accounts/acme?force=true", "")
	inForce("no account", func() bool {
		return bytes.Contains(d.command(t, "comm_060", "stats", "{}").body, []byte(`"tier":"pro"`))
	})
	api("PUT /v1/flags/new-ui", `{"enabled":true}`)
	inForce("the flag", func() bool { return bytes.Contains(d.command(t, "comm_000", "stats", "{}").body, []byte(`"new-ui"`)) })
	api("DELETE /v1/flags/new-ui", "")
	inForce("no flag", func() bool { return !bytes.Contains(d.command(t, "comm_000", "stats", "{}").body, []byte(`"new-ui"`)) })

	if r := arrakis(t, d.env(), "tiers", "set", `{"free":{"rateLimits":{"commandsPerMinute":0}}}`); r.code != exitDone || !strings.Contains(r.stdout, "0 per 1m") {
		t.Errorf("tiers set: %+v", r)
	}
	inForce("the tiers", func() bool { return d.command(t, "comm_061", "ping", "{}").status == http.StatusTooManyRequests })
	if r := arrakis(t, d.env(), "tiers", "get", "--json"); !strings.Contains(r.stdout, `"commandsPerMinute": 0`) {
		t.Errorf("tiers get: %+v", r)
	}
	if r := arrakis(t, d.env(), "tiers", "set", `{"gold":{}}`); r.code != exitUsage || !strings.Contains(r.stderr, "gold: is unknown") {
		t.Errorf("tiers set: %+v", r)
	}
}

// TestInvariantChargedOnceReplay checks I2: a command whose handler fails is dead-lettered, and replayed when there is a
// better one, for one charge.
func TestInvariantChargedOnceReplay(t *testing.T) {
	t.Parallel()
	d := startDev(t, "--max-attempts=1")
	nc, _ := d.connect(t)
	stop := failingHandler(t, nc, "handlers.command.later")
	if r := d.command(t, "comm_070", "later", `{}`); r.status < http.StatusInternalServerError {
		t.Fatalf("status %d: %s", r.status, r.body)
	}
	var page struct{ Deadletters []deadletter.Entry }
	testserver.Eventually(t, "the dead letter is listed", func() bool {
		r := do(t, d.client, http.MethodGet, d.ops+"/v1/deadletters?stream=COMMANDS", "")
		if err := json.Unmarshal(r.body, &page); err != nil {
			t.Fatalf("%v: %s", err, r.body)
		}
		return len(page.Deadletters) == 1
	})
	stop()
	letter := page.Deadletters[0]
	if letter.Community != "comm_070" || letter.Reason != contract.ReasonAttemptsExhausted || !strings.Contains(letter.Body, `"later"`) {
		t.Errorf("letter %+v", letter)
	}
	handled := make(chan string, 2)
	_, err := nc.Subscribe("handlers.command.later", func(m *nats.Msg) {
		handled <- m.Header.Get(contract.HeaderEventID)
		_ = m.Respond([]byte("{}"))
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	if r := do(t, d.client, http.MethodPost, d.ops+"/v1/deadletters/1/replay", ""); r.status != http.StatusOK {
		t.Fatalf("replay: %d %s", r.status, r.body)
	}
	select {
	case id := <-handled:
		if id != letter.EventID {
			t.Errorf("event ID %q, want %q", id, letter.EventID)
		}
	case <-time.After(testserver.Patience):
		t.Fatal("the replay is not handled")
	}
	var used shard.Usage
	r := do(t, d.client, http.MethodGet, d.ops+"/v1/tenants/comm_070/usage", "")
	if err := json.Unmarshal(r.body, &used); err != nil || used.Actions[0].Used != 1 {
		t.Errorf("charged %d times, want once: %s", used.Actions[0].Used, r.body)
	}
	if r := do(t, d.client, http.MethodPost, d.ops+"/v1/deadletters/1/replay", ""); r.status != http.StatusNotFound {
		t.Errorf("the second click: %d %s", r.status, r.body)
	}
}

// TestAdminNeedsItsToken on the ops address of a whole process.
func TestAdminNeedsItsToken(t *testing.T) {
	t.Parallel()
	d := startDev(t, "--admin-token=s3cret")
	if r := do(t, d.client, http.MethodGet, d.ops+"/v1/tenants", ""); r.status != http.StatusUnauthorized || r.header.Get("WWW-Authenticate") == "" {
		t.Errorf("status %d", r.status)
	}
	q, err := http.NewRequestWithContext(t.Context(), http.MethodGet, d.ops+"/v1/tenants", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	q.Header.Set("Authorization", "Bearer s3cret")
	r, err := d.client.Do(q)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close() //nolint:errcheck // not read
	if r.StatusCode != http.StatusOK {
		t.Errorf("with the token: %s", r.Status)
	}
	if r := do(t, d.client, http.MethodGet, d.ingress+"/v1/tenants", ""); r.status != http.StatusNotFound {
		t.Errorf("on the ingress: status %d", r.status)
	}
}

// TestF14ForeignHost on a whole process: a web page that has given its own name the address of this machine gets
// nothing from the admin API, and neither does a form on any site.
func TestF14ForeignHost(t *testing.T) {
	t.Parallel()
	d := startDev(t, "--ops-hosts=ops.example.com")
	ask := func(host, origin string) int {
		q, err := http.NewRequestWithContext(t.Context(), http.MethodPost, d.ops+"/v1/reload", http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		q.Host = host
		if origin != "" {
			q.Header.Set("Origin", origin)
		}
		r, err := d.client.Do(q)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Body.Close() //nolint:errcheck // not read
		return r.StatusCode
	}
	for _, tt := range []struct {
		host, origin string
		want         int
	}{
		{"", "", 200},
		{"localhost", "", 200},
		{"ops.example.com:8081", "http://ops.example.com:8081", 200},
		{"evil.example:8081", "http://evil.example:8081", 403},
		{"", "https://evil.example", 403},
	} {
		if got := ask(tt.host, tt.origin); got != tt.want {
			t.Errorf("host %q, origin %q: status %d, want %d", tt.host, tt.origin, got, tt.want)
		}
	}
}
