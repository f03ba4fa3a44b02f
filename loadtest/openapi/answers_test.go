package openapi

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"

	"arrakis/loadtest/testserver"
	"arrakis/tenant"
	"arrakis/tenant/store"
)

func list(v any) []any {
	l, _ := v.([]any)
	return l
}

// text is an example as it is written into a path.
func text(v any) string {
	switch v := v.(type) {
	case string:
		return v
	case float64:
		return strconv.FormatFloat(v, 'f', -1, 64)
	}
	return ""
}

// see remembers which descriptions of answers were compared with an answer.
func (s *site) see(r *http.Request, status int) {
	for _, op := range s.operations() {
		if op.method != r.Method || !matches(op.path, r.URL.Path) {
			continue
		}
		responses := objects(op.object["responses"])
		for _, code := range []string{strconv.Itoa(status), fmt.Sprintf("%dXX", status/100)} {
			if described, ok := responses[code]; ok {
				s.seen[op.method+" "+op.path+" "+code] = true
				s.seen[text(described["$ref"])] = true
				return
			}
		}
	}
}

// matches reports whether a path is one of a template.
func matches(template, path string) bool {
	want, got := strings.Split(template, "/"), strings.Split(path, "/")
	if len(want) != len(got) {
		return false
	}
	for i := range want {
		if want[i] != got[i] && !strings.HasPrefix(want[i], "{") {
			return false
		}
	}
	return true
}

// The examples of requests work, and those of answers are as the document says.
func TestExamples(t *testing.T) {
	s := newSite(t, nil)
	examples := 0
	for _, op := range s.operations() {
		body := s.resolved(op.object["requestBody"])
		for mediaType, content := range objects(body["content"]) {
			for name, example := range objects(content["examples"]) {
				examples++
				data, err := json.Marshal(example["value"])
				if err != nil {
					t.Fatal(err)
				}
				base := s.ops
				token := adminToken
				if at, _ := s.servers(op.path); at["{ops}"] == "" {
					base, token = s.ingress, ingressToken
				}
				r := s.request(base, token, request{method: op.method, path: s.example(op), body: string(data), header: []string{"Content-Type", mediaType}})
				resp, err := s.client.Do(r)
				if err != nil {
					t.Fatal(err)
				}
				answer, err := io.ReadAll(resp.Body)
				_ = resp.Body.Close() // it is read
				if err != nil || resp.StatusCode >= 300 {
					t.Errorf("%s %s, example %q: %s %s %v", op.method, op.path, name, resp.Status, answer, err)
				}
				s.compare(name, r, resp, answer)
				if ok, errs := s.requests.ValidateHttpRequestSync(s.request(base, token, request{
					method: op.method, path: s.example(op), body: string(data), header: []string{"Content-Type", mediaType},
				})); !ok {
					t.Errorf("%s %s: the example %q is not as described:%s", op.method, op.path, name, reasons(errs))
				}
			}
		}
		for code, response := range objects(op.object["responses"]) {
			for mediaType, content := range objects(s.resolved(response)["content"]) {
				example, ok := content["example"]
				if !ok || !strings.HasSuffix(mediaType, "json") {
					continue
				}
				examples++
				data, err := json.Marshal(example)
				if err != nil {
					t.Fatal(err)
				}
				status, err := strconv.Atoi(code)
				if err != nil {
					t.Fatal(err)
				}
				ok, errs := s.responses.GetResponseBodyValidator().ValidateResponseBody(s.request(s.ops, "", request{method: op.method, path: s.example(op)}), &http.Response{
					StatusCode: status, Header: s.requiredHeaders(s.resolved(response), mediaType), Body: io.NopCloser(bytes.NewReader(data)),
				})
				if !ok {
					t.Errorf("%s %s: the example of %s is not as described:%s", op.method, op.path, code, reasons(errs))
				}
			}
		}
	}
	if examples < 30 {
		t.Errorf("%d examples, want at least 30", examples)
	}
}

// requiredHeaders are headers that make an answer with an example complete.
func (s *site) requiredHeaders(response object, mediaType string) http.Header {
	h := http.Header{"Content-Type": {mediaType}}
	for name := range objects(response["headers"]) {
		switch name {
		case "ETag":
			h.Set(name, `"1"`)
		case "Retry-After", "X-Request-Id":
			h.Set(name, "37")
		}
	}
	return h
}

// Answers of the ingress are as the document says, good and bad.
func TestMessages(t *testing.T) {
	s := newSite(t, nil)
	free := func(command string) string {
		return `{"community_id":"comm_free","data":{"command_name":"` + command + `"}}`
	}
	post := func(path, body string, status int, header ...string) (http.Header, string) {
		t.Helper()
		return s.ask(request{method: http.MethodPost, path: path, body: body, status: status, header: header})
	}
	for _, command := range []string{"ping", "echo", "nothing"} {
		if h, _ := post("/v1/commands", free(command), 200); h.Get("RateLimit") == "" || h.Get("RateLimit-Policy") == "" {
			t.Errorf("%s: no rate limit in %v", command, h)
		}
	}
	post("/v1/commands", free("refuses"), 403)
	post("/v1/commands", free("fails"), 502)
	post("/v1/commands", free("ping"), 202, "Prefer", "respond-async", "X-Request-Id", "my-own")
	post("/v1/eligibility/checks", `{"guild_id":"g1","check_type":"single"}`, 200)
	post("/v1/eligibility/checks", `{"guild_id":"g1","check_type":"single"}`, 202, "Prefer", "respond-async")
	post("/v1/eligibility/syncs", `{"community_id":"comm_free","check_type":"community_sync"}`, 202)
	post("/v1/events", `{"community_id":"comm_free","event_type":"member.join","timestamp":9007199254740992,"shard_id":null}`, 202)

	// Errors of every path.
	for _, path := range []string{"/v1/commands", "/v1/eligibility/checks", "/v1/eligibility/syncs", "/v1/events"} {
		good := `{"community_id":"comm_err","check_type":"single","event_type":"member.join"}`
		post(path, good, 401, "Authorization", "")
		post(path, good, 415, "Content-Type", "text/plain")
		post(path, good, 415, "Content-Encoding", "gzip")
		post(path, `{"community_id":"comm_err","check_type":"single","event_type":"a","data":"`+strings.Repeat("x", 65_536)+`"}`, 413)
		post(path, good, 202, "Idempotency-Key", "key-1", "Prefer", "respond-async")
		if h, _ := post(path, good, 202, "Idempotency-Key", "key-1", "Prefer", "respond-async"); h.Get("Idempotent-Replayed") != "true" {
			t.Errorf("%s, repeated: %v", path, h)
		}
		post(path, `{"community_id":"comm_err","check_type":"single","event_type":"other"}`, 422, "Idempotency-Key", "key-1")
	}

	// A repeated request.
	for range 2 {
		post("/v1/commands", `{"community_id":"pro","data":{"command_name":"refuses"}}`, 403, "Idempotency-Key", `"key-2"`)
	}
	post("/v1/commands", `{"community_id":"pro","data":{"command_name":"large"}}`, 200, "Idempotency-Key", "key-3")
	post("/v1/commands", `{"community_id":"pro","data":{"command_name":"large"}}`, 409, "Idempotency-Key", "key-3")
	first := make(chan string, 1)
	slow := request{method: http.MethodPost, path: "/v1/commands", body: `{"community_id":"pro","data":{"command_name":"slow"}}`, header: []string{"Idempotency-Key", "key-4"}}
	r := s.request(s.ingress, ingressToken, slow)
	go func() {
		resp, err := s.client.Do(r)
		if err != nil {
			first <- err.Error()
			return
		}
		_ = resp.Body.Close() // of no interest
		first <- resp.Status
	}()
	<-s.begun
	slow.status = 409
	s.ask(slow)
	close(s.slow)
	if status := <-first; status != "200 OK" {
		t.Errorf("the slow request: %s", status)
	}

	// Over the limit: five of ten are used.
	for range 6 {
		s.client.CloseIdleConnections()
		resp, err := s.client.Do(s.request(s.ingress, ingressToken, request{method: http.MethodPost, path: "/v1/commands", body: free("ping")}))
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close() // of no interest
	}
	if h, _ := post("/v1/commands", free("ping"), 429); h.Get("RateLimit") == "" || h.Get("Retry-After") == "" {
		t.Errorf("over the limit: %v", h)
	}
	s.notSeen("messages",
		"400",               // TestBodiesOfMessages
		"408",               // a slow client
		"410", "503", "504", // TestOutcomes
	)
}

// What the document says of a body is what the ingress accepts.
func TestBodiesOfMessages(t *testing.T) {
	s := newSite(t, nil)
	long := strings.Repeat("x", 128)
	for _, tt := range []struct {
		path, body string
		status     int
		disagrees  bool
	}{
		{"/v1/commands", `{}`, 400, false},
		{"/v1/commands", `[]`, 400, false},
		{"/v1/commands", `{`, 400, false},
		{"/v1/commands", `{"community_id":null,"guild_id":null}`, 400, false},
		{"/v1/commands", `{"community_id":null,"guild_id":"g"}`, 202, false},
		{"/v1/commands", `{"community_id":"` + long + `"}`, 202, false},
		{"/v1/commands", `{"community_id":"` + long + `x"}`, 400, false},
		{"/v1/commands", `{"community_id":"a.b"}`, 400, false},
		{"/v1/commands", `{"community_id":"A_z:9-"}`, 202, false},
		{"/v1/commands", `{"community_id":7}`, 400, false},
		{"/v1/commands", `{"community_id":"c","user_id":"a b"}`, 400, false},
		{"/v1/commands", `{"community_id":"c","channel_id":""}`, 400, false},
		{"/v1/commands", `{"community_id":"c","guild_id":"ä"}`, 400, false},
		{"/v1/commands", `{"community_id":"c","event_id":"` + long + `"}`, 202, false},
		{"/v1/commands", `{"community_id":"c","event_id":"` + long + `x"}`, 400, false},
		{"/v1/commands", `{"community_id":"c","event_id":""}`, 400, false},
		{"/v1/commands", `{"community_id":"c","event_id":null}`, 400, false},
		{"/v1/commands", `{"community_id":"c","event_id":"a b"}`, 400, false},
		{"/v1/commands", `{"community_id":"c","event_type":"a.b-c_D.1"}`, 202, false},
		{"/v1/commands", `{"community_id":"c","event_type":"a..b"}`, 400, false},
		{"/v1/commands", `{"community_id":"c","event_type":".a"}`, 400, false},
		{"/v1/commands", `{"community_id":"c","event_type":"` + long + `x"}`, 400, false},
		{"/v1/commands", `{"community_id":"c","event_type":null}`, 400, false},
		{"/v1/commands", `{"community_id":"c","timestamp":-1}`, 400, false},
		{"/v1/commands", `{"community_id":"c","timestamp":1.5}`, 400, false},
		{"/v1/commands", `{"community_id":"c","shard_id":9007199254740993}`, 400, true}, // no float64, as which the library reads it
		{"/v1/commands", `{"community_id":"c","shard_id":9007199254740994}`, 400, false},
		{"/v1/commands", `{"community_id":"c","data":7,"more":[{}]}`, 202, false},
		{"/v1/commands", `{"community_id":"c","data":{"command_name":null}}`, 202, false},
		{"/v1/commands", `{"community_id":"c","data":{"command_name":"Ping"}}`, 400, false},
		{"/v1/commands", `{"community_id":"c","data":{"command_name":"` + long[:33] + `"}}`, 400, false},
		{"/v1/commands", `{"community_id":"c","event_type":"interaction.command.Ping"}`, 400, true}, // said in words
		{"/v1/commands", `{"community_id":"c","community_id":"d"}`, 400, true},                      // said in words
		{"/v1/eligibility/checks", `{"community_id":"c"}`, 400, false},
		{"/v1/eligibility/checks", `{"community_id":"c","check_type":null}`, 400, false},
		{"/v1/eligibility/syncs", `{"community_id":"c","check_type":"Single"}`, 400, false},
		{"/v1/eligibility/syncs", `{"community_id":"c","check_type":"single","wallet_address":1,"rule_ids":null}`, 202, false},
		{"/v1/events", `{"community_id":"c"}`, 400, false},
	} {
		s.ask(request{method: http.MethodPost, path: tt.path, body: tt.body, status: tt.status, disagrees: tt.disagrees, header: []string{"Prefer", "respond-async"}})
	}
	for key, status := range map[string]int{"a b": 400, strings.Repeat("y", 128): 202, long + "x": 400, `"` + long[1:] + `"`: 202, `"a\b"`: 400} {
		s.ask(request{method: http.MethodPost, path: "/v1/commands", body: `{"community_id":"c"}`, status: status, header: []string{"Idempotency-Key", key, "Prefer", "respond-async"}})
	}
}

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
	} {
		do("PUT", "/v1/tenants/comm_2", body, 400)
	}
	do("PUT", "/v1/tenants/"+strings.Repeat("x", 129), `{"tier":"pro"}`, 400)
	for _, body := range []string{
		`{}`, `{"tier":"pro","rateLimits":null,"features":null,"onLimit":null,"mode":null,"weight":null,"maxDelayed":null,"boosts":null}`,
		`{"rateLimits":{"commandsPerMinute":5,"syncRequestsPerDay":null},"features":{"prioritySupport":null},"onLimit":{"command":null}}`,
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

// notSeen reports the answers of operations with these tags that no request of the test was answered with, but for those
// that are known: a status, or an operation and a status.
func (s *site) notSeen(tags string, known ...string) {
	s.t.Helper()
	for _, op := range s.operations() {
		tag, _ := list(op.object["tags"])[0].(string)
		if !strings.Contains(tags, tag) {
			continue
		}
		for code, response := range objects(op.object["responses"]) {
			name := op.method + " " + op.path + " " + code
			if s.seen[name] || s.seen[text(response["$ref"])] && code[0] != '2' || slices.Contains(known, code) || slices.Contains(known, name) {
				continue
			}
			s.t.Errorf("no request was answered %s", name)
		}
	}
}
