package admin

import (
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"

	"arrakis/limiter"
	"arrakis/loadtest/testserver"
	"arrakis/pipeline/deadletter"
	"arrakis/shard"
	"arrakis/tenant"
	"arrakis/tenant/store"
)

// badRequest is a request and the fields that its problem must name.
type badRequest struct {
	request, body string
	fields        []string
}

// badRequests have every kind of fault that a client can make.
var badRequests = []badRequest{
	{"PUT /v1/tenants/c1", ``, []string{"body"}},
	{"PUT /v1/tenants/c1", `[]`, []string{"body"}},
	{"PUT /v1/tenants/c1", `{"tier":"pro"`, []string{"body"}},
	{"PUT /v1/tenants/c1", `{"tier":"pro"} {}`, []string{"body"}},
	{"PUT /v1/tenants/c1", "{\"tier\":\"pro\",\"guildId\":\"\xff\"}", []string{"body"}},
	{"PUT /v1/tenants/c1", `{}`, []string{"tier"}},
	{"PUT /v1/tenants/c1", `{"tier":"gold"}`, []string{"tier"}},
	{"PUT /v1/tenants/c1", `{"Tier":"pro"}`, []string{"Tier", "tier"}},
	{"PUT /v1/tenants/c1", `{"tear":"pro","tier":"free"}`, []string{"tear"}},
	{"PUT /v1/tenants/c1", `{"tier":"pro","tier":"free"}`, []string{"tier"}},
	{"PUT /v1/tenants/c1", `{"tier":"pro","communityId":"a.b","guildId":7}`, []string{"communityId", "guildId"}},
	{"PUT /v1/tenants/c1", `{"tier":"pro","features":{"branding":true,"prioritySupport":"yes"}}`, []string{"features.branding", "features.prioritySupport"}},
	{"PUT /v1/tenants/c1", `{"tier":"gold","rateLimits":{"commandsPerMinute":-2,"commandsPerMinit":5,"syncRequestsPerDay":1.5,"eligibilityChecksPerHour":1000000001},"x":1}`, []string{
		"tier", "rateLimits.commandsPerMinute", "rateLimits.commandsPerMinit", "rateLimits.syncRequestsPerDay", "rateLimits.eligibilityChecksPerHour", "x",
	}},
	{"PATCH /v1/tenants/c1", `{"tier":"gold"}`, []string{"tier"}},
	{"PATCH /v1/tenants/c1", `{"tier":null}`, []string{"tier"}},
	{"PATCH /v1/tenants/c1", `{"rateLimits":{"commandsPerMinute":-2},"features":[]}`, []string{"rateLimits.commandsPerMinute", "features"}},
	{"PATCH /v1/tenants/c1", `null`, []string{"body"}},
	{"GET /v1/tenants/a.b", ``, []string{"community"}},
	{"PUT /v1/tenants/a%2Fb", `{"tier":"pro"}`, []string{"community"}},
	{"PATCH /v1/tenants/a%20b", `{"tier":"pro"}`, []string{"community"}},
	{"DELETE /v1/tenants/*", ``, []string{"community"}},
	{"GET /v1/tenants/a.b/usage", ``, []string{"community"}},
	{"DELETE /v1/tenants/%2A/usage", ``, []string{"community"}},
	{"DELETE /v1/tenants/c1/usage/commands", ``, []string{"action"}},
	{"GET /v1/tenants/c1?x=1", ``, []string{"x"}},
	{"GET /v1/tenants?limit=0", ``, []string{"limit"}},
	{"GET /v1/tenants?limit=1001", ``, []string{"limit"}},
	{"GET /v1/tenants?limit=ten&pageSize=5", ``, []string{"pageSize"}},
	{"GET /v1/tenants?limit=1&limit=2", ``, []string{"limit"}},
	{"GET /v1/tenants?%zz", ``, []string{"query"}},
	{"GET /v1/tenants?cursor=x", ``, []string{"cursor"}},
	{"PUT /v1/flags/f1", `{"enabled":"yes","tiers":["gold"],"rolloutPercent":101,"communities":{"include":["a.b"],"only":[]},"on":true}`, []string{
		"enabled", "tiers", "rolloutPercent", "communities.include", "communities.only", "on",
	}},
	{"PUT /v1/flags/f1", `{"id":"f2","enabled":true}`, []string{"id"}},
	{"PUT /v1/flags/f1", `{"id":null}`, []string{"id"}},
	{"PUT /v1/flags/f1", `{"enabled":true,"enabled":true}`, []string{"enabled"}},
	{"PUT /v1/flags/f1", `{"enabled":true`, []string{"body"}},
	{"PUT /v1/flags/f1", `[]`, []string{"body"}},
	{"PUT /v1/flags/a:b", `{"enabled":true}`, []string{"flag"}},
	{"PUT /v1/flags/a%22b", `{"enabled":true}`, []string{"flag"}},
	{"GET /v1/flags/a:b", ``, []string{"flag"}},
	{"DELETE /v1/flags/a:b", ``, []string{"flag"}},
	{"GET /v1/flags?limit=-1", ``, []string{"limit"}},
	{"GET /v1/flags?cursor=!", ``, []string{"cursor"}},
	{"GET /v1/flags?cursor=Kio", ``, []string{"cursor"}},
	{"POST /v1/reload", `{"comunity":"c1"}`, []string{"comunity"}},
	{"POST /v1/reload", `{"community":7}`, []string{"community"}},
	{"POST /v1/reload", `null`, []string{"body"}},
	{"POST /v1/reload?community=a.b", ``, []string{"community"}},
	{"POST /v1/reload?community=a", `{"community":"b"}`, []string{"community"}},
	{"GET /v1/deadletters?stream=INTERNAL", ``, []string{"stream"}},
	{"GET /v1/deadletters?reason=bored", ``, []string{"reason"}},
	{"GET /v1/deadletters?cursor=-1", ``, []string{"cursor"}},
	{"GET /v1/deadletters?limit=1e3", ``, []string{"limit"}},
	{"POST /v1/deadletters/x/replay", ``, []string{"seq"}},
}

// TestEveryFaultIsNamed: the fields of each bad request, in whatever order.
func TestEveryFaultIsNamed(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	for _, bad := range badRequests {
		b.wantFaults(t, bad)
	}
	if n := len(b.mini.Keys()); n != 0 {
		t.Errorf("refused requests wrote: %q", b.mini.Keys())
	}
}

// wantFaults sends a bad request and compares the fields of its problem.
func (b *bed) wantFaults(t *testing.T, bad badRequest) {
	t.Helper()
	method, path, _ := strings.Cut(bad.request, " ")
	r := b.do(t, method, path, bad.body)
	if r.status != http.StatusBadRequest {
		t.Errorf("%s %s: status %d: %s", bad.request, bad.body, r.status, r.body)
		return
	}
	p := r.problem(t)
	var got []string
	for _, e := range p.Errors {
		got = append(got, e.Field)
		if !strings.Contains(p.Detail, e.Field+": "+e.Detail) {
			t.Errorf("%s %s: the detail does not say %q: %s", bad.request, bad.body, e, p.Detail)
		}
	}
	if len(got) > 0 && p.Field != got[0] {
		t.Errorf("%s %s: field %q of %q", bad.request, bad.body, p.Field, got)
	}
	if diff := cmp.Diff(slices.Sorted(slices.Values(bad.fields)), slices.Sorted(slices.Values(got))); diff != "" {
		t.Errorf("%s %s: fields (-want +got)\n%s%s", bad.request, bad.body, diff, p.Detail)
	}
}

func TestStatusCodes(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	large := `{"tier":"pro","guildId":"` + strings.Repeat("x", tenant.MaxDocument) + `"}`
	for _, tt := range []struct {
		request, body string
		headers       []string
		status        int
		header, want  string // of the answer
	}{
		{"GET /v1/", "", nil, 404, "", ""},
		{"GET /v1/nothing", "", nil, 404, "", ""},
		{"GET /v1/tenants/", "", nil, 404, "", ""},
		{"GET /v1/tenants/c1/config", "", nil, 404, "", ""},
		{"DELETE /v1/tenants/c1/usage/command/x", "", nil, 404, "", ""},
		{"GET /v1/deadletters/1", "", nil, 404, "", ""},
		{"POST /v1/deadletters/1/replay", "", nil, 404, "", ""},
		{"GET /v1/flags/none", "", nil, 404, "", ""},
		{"DELETE /v1/flags/none", "", nil, 404, "", ""},
		{"POST /v1/tenants", "{}", nil, 405, "Allow", "GET, HEAD"},
		{"POST /v1/tenants/c1", "{}", nil, 405, "Allow", "GET, HEAD, PUT, PATCH, DELETE"},
		{"PUT /v1/tenants/c1/usage", "", nil, 405, "Allow", "GET, HEAD, DELETE"},
		{"GET /v1/tenants/c1/usage/command", "", nil, 405, "Allow", "DELETE"},
		{"PATCH /v1/flags/f1", "{}", nil, 405, "Allow", "GET, HEAD, PUT, DELETE"},
		{"GET /v1/reload", "", nil, 405, "Allow", "POST"},
		{"OPTIONS /v1/deadletters", "", nil, 405, "Allow", "GET, HEAD"},
		{"GET /v1/deadletters/1/replay", "", nil, 405, "Allow", "POST"},
		{"PUT /v1/tenants/c1", large, nil, 413, "", ""},
		{"PATCH /v1/tenants/c1", large, nil, 413, "", ""},
		{"PUT /v1/flags/f1", large, nil, 413, "", ""},
		{"POST /v1/reload", large, nil, 413, "", ""},
		{"PUT /v1/tenants/c1", `{"tier":"pro"}`, []string{"Content-Type", "text/plain"}, 415, "Accept", "application/json"},
		{"PUT /v1/tenants/c1", `{"tier":"pro"}`, []string{"Content-Type", patchType}, 415, "Accept", "application/json"},
		{"PATCH /v1/tenants/c1", `{}`, []string{"Content-Type", "application/json-patch+json"}, 415, "Accept-Patch", "application/merge-patch+json, application/json"},
		{"PUT /v1/flags/f1", `{}`, []string{"Content-Type", "application/xml"}, 415, "Accept", "application/json"},
		{"POST /v1/reload", `{}`, []string{"Content-Encoding", "gzip"}, 415, "Accept-Encoding", "identity"},
		{"PUT /v1/tenants/c1", `{"tier":"pro"}`, []string{"Content-Type", "application/json; charset=utf-8"}, 201, "Content-Type", "application/json"},
		{"PATCH /v1/tenants/c1", `{}`, []string{"Content-Type", "application/json"}, 200, "", ""},
		{"HEAD /v1/tenants", "", nil, 200, "Content-Type", "application/json"},
		{"GET /v1/tenants//c1", "", nil, 307, "Location", "/v1/tenants/c1"},
		{"GET /v1/tenants/c1", "", []string{"Authorization", "Bearer wrong"}, 401, "WWW-Authenticate", `Bearer realm="arrakis"`},
		{"GET /v1/nothing", "", []string{"Authorization", ""}, 401, "", ""},
	} {
		method, path, _ := strings.Cut(tt.request, " ")
		r := b.do(t, method, path, tt.body, tt.headers...)
		if r.status != tt.status || tt.header != "" && r.header.Get(tt.header) != tt.want {
			t.Errorf("%s %v: %d %v, want %d with %s: %s\n%.200s", tt.request, tt.headers, r.status, r.header, tt.status, tt.header, tt.want, r.body)
		}
		if r.status >= 400 {
			r.problem(t)
		}
		if r.status != 307 && r.header.Get("Cache-Control") != "no-store" {
			t.Errorf("%s: Cache-Control %q", tt.request, r.header.Get("Cache-Control"))
		}
	}
}

// TestProblems holds problems against their golden files, to the byte.
func TestProblems(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	b.do(t, "PUT", "/v1/tenants/c1", `{"tier":"pro"}`).want(t, 201)
	for _, tt := range []struct {
		name, request, body string
		headers             []string
	}{
		{"400-fields", "PUT /v1/tenants/c1", `{"tier":"gold","rateLimits":{"commandsPerMinute":-2},"tear":"pro"}`, nil},
		{"400-body", "PATCH /v1/tenants/c1", `{"tier":`, nil},
		{"404-tenant", "GET /v1/tenants/c2", "", nil},
		{"404-flag", "GET /v1/flags/f1", "", nil},
		{"404-letter", "POST /v1/deadletters/7/replay", "", nil},
		{"404-path", "GET /v1/secrets", "", nil},
		{"405", "POST /v1/tenants/c1", "", nil},
		{"412", "PUT /v1/tenants/c1", `{"tier":"free"}`, []string{ifNoneMatch, "*"}},
		{"415", "PATCH /v1/tenants/c1", "a: b", []string{"Content-Type", "text/yaml"}},
	} {
		method, path, _ := strings.Cut(tt.request, " ")
		testserver.Golden(t, "golden/"+tt.name+".txt", b.do(t, method, path, tt.body, append(tt.headers, "X-Request-Id", "r1")...).body)
	}
}

// TestAway: without Redis or NATS requests are told when to come back.
func TestAway(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	b.mini.Close()
	b.nats.Stop()
	testserver.Eventually(t, "NATS is away", func() bool { return !b.js.Conn().IsConnected() })
	for _, request := range []string{
		"GET /v1/tenants", "GET /v1/tenants/c1", "PUT /v1/tenants/c1", "PATCH /v1/tenants/c1", "DELETE /v1/tenants/c1",
		"GET /v1/tenants/c1/usage", "DELETE /v1/tenants/c1/usage", "GET /v1/flags", "POST /v1/reload",
		"GET /v1/deadletters", "POST /v1/deadletters/1/replay",
	} {
		method, path, _ := strings.Cut(request, " ")
		body := ""
		if method == "PUT" || method == "PATCH" {
			body = `{"tier":"pro"}`
		}
		r := b.do(t, method, path, body)
		if r.status != http.StatusServiceUnavailable || r.header.Get("Retry-After") != "2" || strings.Contains(r.body, "127.0.0.1") {
			t.Errorf("%s: %d %v %s", request, r.status, r.header, r.body)
		}
	}
}

// TestInvariantBoundedRequests checks I6: more than are bounded are refused, not queued.
func TestInvariantBoundedRequests(t *testing.T) {
	t.Parallel()
	a := &api{slots: make(chan struct{}, 1)}
	inside := false
	nested := func(_ http.ResponseWriter, r *http.Request) (answer, error) {
		inside = true
		second := httptest.NewRecorder()
		a.serve(second, r, func(http.ResponseWriter, *http.Request) (answer, error) {
			t.Error("two requests at once")
			return answer{}, nil
		})
		if second.Code != http.StatusServiceUnavailable || second.Header().Get("Retry-After") != "1" {
			t.Errorf("%d %v", second.Code, second.Header())
		}
		return answer{body: map[string]int{}}, nil
	}
	for range 2 { // the slot is given back
		inside = false
		w := httptest.NewRecorder()
		a.serve(w, httptest.NewRequest(http.MethodGet, "/v1/tenants", http.NoBody), nested)
		if w.Code != http.StatusOK || !inside {
			t.Errorf("status %d", w.Code)
		}
	}
}

func TestOptions(t *testing.T) {
	t.Parallel()
	_, err := Handler(Options{})
	for _, name := range []string{"Limits", "Directory", "DeadLetters", "Lanes"} {
		if err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%v, want also %s", err, name)
		}
	}
	rdb := redis.NewClient(&redis.Options{Addr: "127.0.0.1:1"})
	defer rdb.Close() //nolint:errcheck // never used
	l, err := limiter.New(rdb, limiter.Options{})
	if err != nil {
		t.Fatal(err)
	}
	good := shard.Limits{Tenants: store.New(rdb, store.Options{}), Limiter: l}
	for _, lack := range []func(*shard.Limits){
		func(l *shard.Limits) { l.Tenants = nil }, func(l *shard.Limits) { l.Limiter = nil },
	} {
		limits := good
		lack(&limits)
		if _, err := Handler(Options{Limits: &limits, DeadLetters: deadletter.New(nil)}); err == nil {
			t.Errorf("%+v passed", limits)
		}
	}
}
