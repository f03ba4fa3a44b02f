package openapi

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"

	"arrakis/loadtest/testserver"
	"arrakis/tenant"
	"arrakis/tenant/store"
)

// Answers of the ops address are as the document says, good and bad.
func TestOperations(t *testing.T) {
	s := newSite(t, nil)
	do := func(method, path, body string, status int, header ...string) (http.Header, string) {
		t.Helper()
		return s.ask(request{method: method, path: path, body: body, status: status, header: header})
	}
	for _, path := range []string{"/healthz", "/health", "/readyz", "/ready", "/openapi.json"} {
		for base, token := range map[string]string{s.ingress: "", s.ops: ""} {
			s.askAt(base, token, request{method: http.MethodGet, path: path, status: 200})
		}
	}
	h, _ := do("GET", "/openapi.json", "", 200)
	do("GET", "/openapi.json", "", 304, "If-None-Match", h.Get("ETag"))
	do("GET", "/openapi.json", "", 403, "Host", "evil.example")

	// Tenants.
	for _, body := range []string{
		`{"tier":"pro"}`,
		`{"tier":"enterprise","communityId":"comm_1","guildId":"g","features":{"customBranding":true},"rateLimits":{"commandsPerMinute":-1,"userCommandsPerMinute":1000000000},
		  "onLimit":"delay","maxDelayed":10000,"mode":"shadow","weight":100,"boosts":{"syncRequestsPerDay":{"add":1,"until":"2999-01-31T12:00:00Z"}}}`,
		`{"tier":"free","onLimit":{"command":"delay"}}`,
		`{"tier":"free","tierFrom":"entitlement","entitlements":{"9":{"sku":"7","endsAt":"2999-01-31T12:00:00Z","deleted":true,"at":"2026-01-31T12:00:00.5Z"}},
		  "texts":{"*":{"done":"x"},"pt-BR":{"rate_limited":"{retry}"},"de":{}}}`,
	} {
		do("PUT", "/v1/tenants/comm_1", body, map[bool]int{true: 201, false: 200}[strings.Contains(body, "pro")])
		_, stored := do("GET", "/v1/tenants/comm_1", "", 200)
		do("PUT", "/v1/tenants/comm_1", stored, 200)
	}
	for _, body := range []string{
		`{}`, `{"tier":"gold"}`, `{"tier":"pro","more":1}`, `{"tier":"pro","features":{"more":true}}`, `{"tier":"pro","features":{"customBranding":1}}`,
		`{"tier":"pro","rateLimits":{"commandsPerMinute":-2}}`, `{"tier":"pro","rateLimits":{"commandsPerMinute":1000000001}}`,
		`{"tier":"pro","rateLimits":{"more":1}}`, `{"tier":"pro","onLimit":"drop"}`, `{"tier":"pro","onLimit":{"user_command":"delay"}}`,
		`{"tier":"pro","maxDelayed":0}`, `{"tier":"pro","maxDelayed":10001}`, `{"tier":"pro","weight":0}`, `{"tier":"pro","weight":101}`,
		`{"tier":"pro","mode":"off"}`, `{"tier":"pro","communityId":"a.b"}`, `{"tier":"pro","boosts":{"commandsPerMinute":{"add":0,"until":"2999-01-31T12:00:00Z"}}}`,
		`{"tier":"pro","boosts":{"commandsPerMinute":{"add":1}}}`, `{"tier":"pro","createdAt":"yesterday"}`, `[]`, `{`,
		`{"tier":"pro","tierFrom":"hand"}`, `{"tierFrom":"entitlement"}`, `{"tier":"pro","entitlements":{"x":{"sku":"7","at":"2026-01-31T12:00:00Z"}}}`,
		`{"tier":"pro","entitlements":{"9":{"sku":"x","at":"2026-01-31T12:00:00Z"}}}`, `{"tier":"pro","entitlements":{"9":{"sku":"7"}}}`,
		`{"tier":"pro","texts":{"German":{}}}`, `{"tier":"pro","texts":{"de":{"more":"x"}}}`, `{"tier":"pro","texts":{"de":{"done":""}}}`,
	} {
		do("PUT", "/v1/tenants/comm_2", body, 400)
	}
	do("PUT", "/v1/tenants/"+strings.Repeat("x", 129), `{"tier":"pro"}`, 400)
	for _, body := range []string{
		`{}`, `{"tier":"pro","rateLimits":null,"features":null,"onLimit":null,"mode":null,"weight":null,"maxDelayed":null,"boosts":null}`,
		`{"rateLimits":{"commandsPerMinute":5,"syncRequestsPerDay":null},"features":{"prioritySupport":null},"onLimit":{"command":null}}`,
		`{"tierFrom":"entitlement","entitlements":{"9":{"endsAt":null,"deleted":null},"8":null},"texts":{"de":null,"*":{"done":null}}}`,
		`{"tierFrom":null,"entitlements":null,"texts":null}`,
	} {
		do("PATCH", "/v1/tenants/comm_1", body, 200, "Content-Type", "application/merge-patch+json")
		do("PATCH", "/v1/tenants/comm_1", body, 200)
	}
	for _, body := range []string{`{"tier":null}`, `{"more":1}`, `{"weight":0}`, `{"rateLimits":7}`, `{"rateLimits":{"commandsPerMinute":"5"}}`} {
		do("PATCH", "/v1/tenants/comm_1", body, 400)
	}
	do("POST", "/v1/tenants/comm_1/boost", `{"rateLimits":{"commandsPerMinute":500},"for":"744h"}`, 200)
	for _, body := range []string{`{"for":"2h"}`, `{"rateLimits":{},"for":"2h"}`, `{"rateLimits":{"commandsPerMinute":0},"for":"2h"}`, `{"rateLimits":{"commandsPerMinute":1},"for":"two"}`} {
		do("POST", "/v1/tenants/comm_1/boost", body, 400)
	}
	s.ask(request{method: "POST", path: "/v1/tenants/comm_1/boost", body: `{"rateLimits":{"commandsPerMinute":1},"for":"745h"}`, status: 400, disagrees: true}) // said in words
	_, usage := do("GET", "/v1/tenants/comm_1/usage", "", 200)
	_, explained := do("GET", "/v1/tenants/comm_1/explain?command=ping&user=42", "", 200)
	for _, text := range []string{usage, explained} {
		if !strings.Contains(text, `"boost":{"add":500`) {
			t.Errorf("no boost in %s", text)
		}
	}
	do("GET", "/v1/tenants/comm_1/explain", "", 200)
	do("GET", "/v1/tenants/comm_1/explain?command=Ping", "", 400)
	do("GET", "/v1/tenants/comm_1/explain?user=a.b", "", 400)
	do("DELETE", "/v1/tenants/comm_1/boost", "", 200)
	do("DELETE", "/v1/tenants/comm_1/usage", "", 200)
	do("DELETE", "/v1/tenants/comm_1/usage/user_command", "", 200)
	do("DELETE", "/v1/tenants/comm_1/usage/nothing", "", 400)
	do("PUT", "/v1/tenants/comm_3", `{"tier":"pro"}`, 201)
	h, first := do("GET", "/v1/tenants?limit=1", "", 200)
	if h.Get("Link") == "" || !strings.Contains(first, `"next"`) {
		t.Errorf("the first page of tenants: %v %s", h, first)
	}
	testserver.Eventually(t, "the directory knows both tenants", func() bool {
		_, found := do("GET", "/v1/tenants?q=COMM_&limit=1", "", 200)
		return strings.Contains(found, `"matches":2`)
	})
	do("GET", "/v1/tenants?limit=0", "", 400)
	do("GET", "/v1/tenants?limit=1001", "", 400)
	do("GET", "/v1/tenants?q="+strings.Repeat("x", 129), "", 400)
	s.ask(request{method: "GET", path: "/v1/tenants?cursor=nonsense", status: 400, disagrees: true})
	s.ask(request{method: "GET", path: "/v1/tenants?more=1", status: 400, disagrees: true})

	// Flags.
	do("PUT", "/v1/flags/new.stats", `{"enabled":true}`, 201)
	do("PUT", "/v1/flags/new.stats", `{"id":"new.stats","description":"d","enabled":true,"tiers":["pro"],"communities":{"include":["a"],"exclude":["b"]},"rolloutPercent":0.5}`, 200)
	do("PUT", "/v1/flags/other", `{}`, 201)
	for _, body := range []string{
		`{"more":1}`, `{"tiers":["gold"]}`, `{"communities":{"include":["a.b"]}}`, `{"rolloutPercent":101}`, `{"rolloutPercent":-1}`, `{"enabled":1}`,
		`{"description":"` + strings.Repeat("x", 1025) + `"}`,
	} {
		do("PUT", "/v1/flags/new.stats", body, 400)
	}
	do("GET", "/v1/flags/new.stats", "", 200)
	do("GET", "/v1/flags/a:b", "", 400)
	do("GET", "/v1/flags?limit=1", "", 200)
	do("GET", "/v1/flags?limit=2", "", 200)

	// Conditions.
	for path, body := range map[string]string{"/v1/tenants/comm_1": `{"tier":"pro"}`, "/v1/flags/new.stats": `{"enabled":true}`} {
		h, _ := do("GET", path, "", 200)
		do("PUT", path, body, 412, "If-None-Match", "*")
		do("PUT", path, body, 412, "If-Match", `"another"`)
		do("PUT", path, body, 200, "If-Match", h.Get("ETag"))
		do("PUT", path, body, 200, "If-Match", "*")
		do("PUT", path, body, 400, "If-Match", "weak")
		do("PUT", path, body, 400, "If-None-Match", `"1"`)
		do("DELETE", path, "", 412, "If-Match", `"another"`)
	}
	do("PATCH", "/v1/tenants/comm_1", `{}`, 412, "If-Match", `"another"`)
	do("PATCH", "/v1/tenants/comm_9", `{}`, 412, "If-Match", "*")
	do("POST", "/v1/tenants/comm_1/boost", `{"rateLimits":{"commandsPerMinute":5},"for":"2h"}`, 412, "If-Match", `"another"`)
	do("DELETE", "/v1/tenants/comm_1/boost", "", 412, "If-Match", `"another"`)

	// Reload.
	do("POST", "/v1/reload", "", 200)
	do("POST", "/v1/reload", `{"community":"comm_1"}`, 200)
	do("POST", "/v1/reload", `{"community":null}`, 200)
	do("POST", "/v1/reload?community=comm_1", "", 200)
	do("POST", "/v1/reload", `{"more":1}`, 400)
	s.ask(request{method: "POST", path: "/v1/reload?community=comm_1", body: `{"community":"comm_1"}`, status: 400, disagrees: true}) // said in words

	s.deadLetters(do)

	// The fleet, and who has done all this.
	testserver.Eventually(t, "the fleet has the worker", func() bool {
		_, fleet := do("GET", "/v1/fleet", "", 200)
		return strings.Contains(fleet, `"state":"ready"`)
	})
	do("GET", "/v1/audit", "", 200)
	do("GET", "/v1/audit?limit=1&type=tenant&target=comm_1", "", 200)
	do("GET", "/v1/audit?type=nothing", "", 400)
	do("GET", "/metrics", "", 200)
	do("GET", "/metrics", "", 200, "Accept", "application/openmetrics-text")
	for path, status := range map[string]int{
		"/debug/pprof/": 200, "/debug/pprof/cmdline": 200, "/debug/pprof/symbol": 200, "/debug/pprof/heap": 200, "/debug/pprof/goroutine?debug=1": 200,
		"/debug/pprof/nothing": 404, "/debug/pprof/profile?seconds=1": 200, "/debug/pprof/trace?seconds=0.1": 200,
		"/debug/pprof/heap?seconds=0": 400, "/debug/pprof/heap?seconds=1": 200,
	} {
		do("GET", path, "", status)
	}
	do("POST", "/debug/pprof/symbol", "0x1", 200, "Content-Type", "text/plain")
	s.stream(do)

	s.refusals(do)

	// What cannot be used. These come last: the worker says so in /readyz.
	for path, write := range map[string]func() error{
		"/v1/tenants/bad": func() error { return s.rdb.Set(t.Context(), "tenant:config:bad", "{", 0).Err() },
		"/v1/flags/bad":   func() error { return s.rdb.HSet(t.Context(), "arrakis:flags", "bad", "{").Err() },
	} {
		if err := write(); err != nil {
			t.Fatal(err)
		}
		do("GET", path, "", 500)
	}
	do("PATCH", "/v1/tenants/bad", `{}`, 500)
	do("POST", "/v1/tenants/bad/boost", `{"rateLimits":{"commandsPerMinute":5},"for":"2h"}`, 500)
	do("DELETE", "/v1/tenants/bad/boost", "", 500)
	for _, path := range []string{"/v1/tenants", "/v1/tenants?q=", "/v1/flags"} {
		do("GET", path, "", 200)
	}
	do("GET", "/v1/tenants/bad/explain", "", 200)
	do("GET", "/v1/tenants/bad/usage", "", 200)
	for path, body := range map[string]string{"/v1/tenants/bad": `{"tier":"pro"}`, "/v1/flags/bad": `{}`} {
		do("PUT", path, body, 200)
		do("DELETE", path, "", 204, "If-Match", "*")
		do("DELETE", path, "", 404)
		do("GET", path, "", 404)
	}
	do("DELETE", "/v1/tenants/bad/boost", "", 404)
	if err := s.rdb.Set(t.Context(), store.AuditKey, "no stream", 0).Err(); err != nil {
		t.Fatal(err)
	}
	do("GET", "/v1/audit", "", 500)

	s.notSeen("tenants flags fleet diagnosis health",
		"408",                                                        // a slow client
		"409",                                                        // writers that meet
		"503",                                                        // TestAway
		"GET /debug/pprof/profile 500", "GET /debug/pprof/trace 500", // two at once
	)
}

// ask compares one request and its answer with the document.
type ask func(method, path, body string, status int, header ...string) (http.Header, string)

// deadLetters makes dead letters, and asks for them.
func (s *site) deadLetters(do ask) {
	t := s.t
	t.Helper()
	js := testserver.JetStream(t, s.nc)
	for _, body := range []string{`{`, "\xff", `{"event_id":"e","event_type":"t"}`} {
		if _, err := js.Publish(t.Context(), "commands.interaction", []byte(body)); err != nil {
			t.Fatal(err)
		}
	}
	s.ask(request{method: "POST", path: "/v1/events", body: `{"community_id":"comm_d","event_type":"nobody.handles"}`, status: 202})
	for range 3 {
		s.ask(request{method: "POST", path: "/v1/commands", body: `{"community_id":"comm_d","data":{"command_name":"fails"}}`, status: 202, header: []string{"Prefer", "respond-async"}})
	}
	var page struct {
		DeadLetters []struct {
			Seq    uint64 `json:"seq"`
			Reason string `json:"reason"`
		} `json:"deadletters"`
	}
	testserver.Eventually(t, "the dead letters are there", func() bool {
		_, body := do("GET", "/v1/deadletters", "", 200)
		if err := json.Unmarshal([]byte(body), &page); err != nil {
			t.Fatal(err)
		}
		return len(page.DeadLetters) >= 6
	})
	for _, l := range page.DeadLetters {
		do("GET", fmt.Sprintf("/v1/deadletters/%d", l.Seq), "", 200)
	}
	do("GET", "/v1/deadletters?limit=1&order=newest&stream=COMMANDS&reason=malformed", "", 200)
	do("GET", "/v1/deadletters?community=comm_d", "", 200)
	for _, query := range []string{"order=random", "stream=RETRY", "reason=none", "community=a.b", "limit=x"} {
		do("GET", "/v1/deadletters?"+query, "", 400)
	}
	s.ask(request{method: "GET", path: "/v1/deadletters?cursor=x", status: 400, disagrees: true})
	seqOf := func(reason string) uint64 {
		for _, l := range page.DeadLetters {
			if l.Reason == reason {
				return l.Seq
			}
		}
		t.Fatalf("no dead letter %s in %+v", reason, page)
		return 0
	}
	do("POST", fmt.Sprintf("/v1/deadletters/%d/replay", seqOf("attempts_exhausted")), "", 200)
	do("POST", "/v1/deadletters/999999/replay", "", 404)
	do("GET", "/v1/deadletters/999999", "", 404)
	do("DELETE", "/v1/deadletters/999999", "", 404)
	for _, path := range []string{"/v1/deadletters/x", "/v1/deadletters/-1"} {
		do("GET", path, "", 400)
		do("DELETE", path, "", 400)
		do("POST", path+"/replay", "", 400)
	}
	do("DELETE", fmt.Sprintf("/v1/deadletters/%d", seqOf("no_community")), "", 204)
	if _, err := js.Publish(t.Context(), "deadletter.COMMANDS.panic", []byte("a stranger's")); err != nil {
		t.Fatal(err)
	}
	_, body := do("GET", "/v1/deadletters?reason=panic", "", 200)
	if err := json.Unmarshal([]byte(body), &page); err != nil || len(page.DeadLetters) != 1 {
		t.Fatalf("%v: %s", err, body)
	}
	stranger := page.DeadLetters[0].Seq
	do("POST", fmt.Sprintf("/v1/deadletters/%d/replay", stranger), "", 409)
	for _, action := range []string{"replay", "purge"} {
		path := "/v1/deadletters/" + action
		for _, body := range []string{
			`{}`, `[]`, `{"seqs":[1],"filter":{}}`, `{"seqs":[]}`, `{"seqs":["1"]}`, `{"seqs":[-1]}`, `{"filter":{"more":"x"}}`, `{"filter":{"community":""}}`,
			`{"filter":{"stream":"RETRY"}}`, `{"more":1}`, `{"seqs":[1` + strings.Repeat(",1", 1000) + `]}`,
		} {
			do("POST", path, body, 400)
		}
		do("POST", path, fmt.Sprintf(`{"seqs":[%d,999999]}`, stranger), 200)
		do("POST", path, `{"filter":{"community":"comm_d","stream":"COMMANDS","reason":"attempts_exhausted"}}`, 200)
		s.ask(request{method: "POST", path: path, body: `{"seqs":[1],"cursor":"x"}`, status: 400, disagrees: true})
	}
	do("POST", "/v1/deadletters/purge", `{"filter":{}}`, 200)
}

// refusals asks without the right to, and with bodies of the wrong kind or size.
func (s *site) refusals(do ask) {
	t := s.t
	t.Helper()
	for _, op := range s.operations() {
		if at, _ := s.servers(op.path); at["{ingress}"] != "" {
			continue
		}
		path := s.example(op)
		if _, ok := op.object["responses"].(object)["401"]; ok {
			do(op.method, path, "", 401, "Authorization", "")
			view := http.StatusForbidden
			if op.method == http.MethodGet && !strings.HasPrefix(path, "/debug/") {
				continue // it may look
			}
			do(op.method, path, "", view, "Authorization", "Bearer "+viewToken)
		}
		if _, ok := op.object["requestBody"]; !ok || strings.HasPrefix(path, "/debug/") {
			continue
		}
		do(op.method, path, `{"x":"`+strings.Repeat("x", tenant.MaxDocument)+`"}`, 413)
		for _, header := range [][]string{{"Content-Type", "text/plain"}, {"Content-Encoding", "gzip"}} {
			do(op.method, path, `{}`, 415, header...)
		}
	}
	for _, op := range s.operations() {
		if at, _ := s.servers(op.path); at["{ingress}"] == "" {
			do(op.method, s.example(op), "", 403, "Origin", "https://evil.example")
		}
	}
}

// stream reads the events of both kinds, and compares their data with the document.
func (s *site) stream(do ask) {
	t := s.t
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	r := s.request(s.ops, adminToken, request{method: "GET", path: "/v1/stream"}).WithContext(ctx)
	resp, err := s.client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close() //nolint:errcheck // only read
	s.compare("the stream", r, resp, nil)
	events := map[string]bool{}
	lines := bufio.NewScanner(resp.Body)
	lines.Buffer(nil, 1<<20)
	name := ""
	for len(events) < 2 && lines.Scan() {
		if n, ok := strings.CutPrefix(lines.Text(), "event: "); ok {
			name = n
		}
		data, ok := strings.CutPrefix(lines.Text(), "data: ")
		if !ok {
			continue
		}
		if len(events) == 0 {
			do("PUT", "/v1/tenants/comm_1", `{"tier":"pro"}`, 200)
		}
		events[name] = true
		if name == "change" {
			var got map[string]any
			if err := json.Unmarshal([]byte(data), &got); err != nil {
				t.Fatal(err)
			}
			described := s.at("components", "schemas", "Change")
			if names := slices.Sorted(maps.Keys(got)); !slices.Equal(names, slices.Sorted(maps.Keys(objects(described["properties"])))) {
				t.Errorf("a change has %q", names)
			}
		}
	}
	if !events["fleet"] || !events["change"] {
		t.Errorf("the stream has the events %v: %v", events, lines.Err())
	}
	do("GET", "/v1/stream", "", 401, "Authorization", "")
	s.ask(request{method: "GET", path: "/v1/stream?more=1", status: 400, disagrees: true})
}
