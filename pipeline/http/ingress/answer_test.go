package ingress

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"arrakis/loadtest/testserver"
	"arrakis/pipeline/contract"
	"arrakis/pipeline/http/auth"
	"arrakis/tenant"
)

const (
	good    = `{"event_id":"e1","event_type":"interaction.create","guild_id":"comm_099","data":{"command_name":"ping"}}`
	limited = `"rate_limit":{"action":"command","limit":10,"remaining":0,"reset_ms":36001,"retry_after_ms":36001}`
)

// failed is the outcome of a message whose handler failed, or which was refused.
func failed(code int, message string) string {
	return fmt.Sprintf(`{"status":"error","error":{"code":%d,"message":%q}}`, code, message)
}

// TestAnswers holds every answer that follows from a request or an outcome against its golden file: status, headers,
// body.
func TestAnswers(t *testing.T) {
	var outcome atomic.Value
	b := newBed(t, func(o *Options) { o.Bearer = bearer(t, "secret") })
	b.work(t, func(jetstream.Msg) []byte { return []byte(outcome.Load().(string)) })
	tests := []struct {
		name, method, path, body, outcome string
		headers                           []string
	}{
		{name: "200", outcome: `{"event_id":"e1","community_id":"comm_099","tier":"free","status":"ok","result":{"pong":true},"rate_limit":{"action":"command","limit":10,"remaining":9,"reset_ms":36001,"retry_after_ms":0}}`},
		{name: "200-unlimited", outcome: `{"event_id":"e1","status":"ok","rate_limit":{"action":"command","limit":-1,"remaining":-1,"reset_ms":0,"retry_after_ms":0}}`},
		{name: "200-check", path: "/v1/eligibility/checks", body: `{"event_id":"e1","community_id":"comm_099","check_type":"single"}`, outcome: `{"status":"ok","rate_limit":{"action":"eligibility_check","limit":100,"remaining":99,"reset_ms":1,"retry_after_ms":0}}`},
		{name: "202-sync", path: "/v1/eligibility/syncs", body: `{"event_id":"e1","community_id":"comm_099","check_type":"community_sync"}`},
		{name: "202-event", path: "/v1/events", headers: []string{"Prefer", "return=minimal"}},
		{name: "202-respond-async", headers: []string{"Prefer", "handling=lenient, Respond-Async"}},
		{name: "400-malformed", body: `{"guild_id":"commands.>*"}`},
		{name: "400-no-community", body: `{"event_id":"e1"}`},
		{name: "400-key", body: `{"guild_id":"comm_099"}`, headers: []string{"Idempotency-Key", "a b"}},
		{name: "401-missing", headers: []string{"Authorization", ""}},
		{name: "401-wrong", headers: []string{"Authorization", "Bearer secrets"}},
		{name: "404-path", path: "/v1/command"},
		{name: "405", method: http.MethodGet},
		{name: "410", outcome: `{"status":"expired"}`},
		{name: "413", body: strings.Repeat(" ", 64<<10+1)},
		{name: "415", headers: []string{"Content-Type", "text/plain"}},
		{name: "429", outcome: `{"status":"rate_limited",` + limited + `}`},
		{name: "429-user", outcome: `{"status":"rate_limited","rate_limit":{"action":"user_command","limit":2,"remaining":0,"reset_ms":36001,"retry_after_ms":36001}}`},
		{name: "429-none", outcome: `{"status":"rate_limited","rate_limit":{"action":"command","limit":0,"remaining":0,"reset_ms":0,"retry_after_ms":0}}`},
		{name: "404-handler", outcome: failed(404, "No such member.")},
		{name: "404-handler-limited", outcome: `{"status":"error","error":{"code":404,"message":"No such member."},` + limited + `}`},
		{name: "502-handler", outcome: failed(500, "The handler failed 3 times: timeout.")},
		{name: "502-no-error", outcome: `{"status":"error"}`},
		{name: "502-unknown-status", outcome: `{"status":"odd"}`},
		{name: "502-not-json", outcome: `{"status":"ok"`},
		{name: "503-overloaded", outcome: `{"status":"error","error":{"code":503,"message":"Overloaded.","retry_after_ms":3001}}`},
		{name: "503-limits", outcome: failed(503, "Redis is away.")},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			outcome.Store(tt.outcome)
			method, path, body := orElse(tt.method, http.MethodPost), orElse(tt.path, "/v1/commands"), orElse(tt.body, good)
			r := b.request(t, method, path, strings.NewReader(body), tt.headers...)
			r.Header.Set("X-Request-Id", "r1")
			if _, ok := r.Header["Authorization"]; !ok {
				r.Header.Set("Authorization", "bearer secret")
			}
			checkGolden(t, tt.name, do(t, r))
		})
	}
}

func orElse(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}

// checkGolden holds an answer against testdata/golden/<name>.http. Its status must be the number that the name begins
// with.
func checkGolden(t *testing.T, name string, r response) {
	t.Helper()
	if !strings.HasPrefix(name, strconv.Itoa(r.code)) {
		t.Errorf("status %d: %s", r.code, r.body)
	}
	r.header.Del("Date")
	var text strings.Builder
	fmt.Fprintf(&text, "%d %s\n", r.code, http.StatusText(r.code))
	if err := r.header.Write(&text); err != nil {
		t.Fatal(err)
	}
	testserver.Golden(t, "golden/"+name+".http", strings.ReplaceAll(text.String(), "\r\n", "\n")+"\n"+strings.TrimSuffix(r.body, "\n")+"\n")
}

func bearer(t *testing.T, tokens ...string) auth.Bearer {
	t.Helper()
	b, err := auth.NewBearer(tokens...)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestBearer: while a token is rotated, the old one and the new one are accepted.
func TestBearer(t *testing.T) {
	b := newBed(t, func(o *Options) { o.Bearer = bearer(t, "s3cret", "n3xt") })
	b.work(t, always(`{"status":"ok"}`))
	for value, want := range map[string]int{
		"Bearer s3cret":      200,
		"BEARER  s3cret":     200,
		"Bearer n3xt":        200,
		"Bearer s3cret,n3xt": 401,
		"Bearer s3cret2":     401,
		"Bearer S3CRET":      401,
		"Bearer s3cre":       401,
		"Bearer ":            401,
		"Bearer":             401,
		"s3cret":             401,
		"Basic s3cret":       401,
		"Bearer a s3cret":    401,
	} {
		if r := b.post(t, "/v1/commands", good, "Authorization", value); r.code != want {
			t.Errorf("%q: %d, want %d", value, r.code, want)
		}
	}
}

func TestRateLimitHeaders(t *testing.T) {
	for i := range tenant.NumActions {
		action := tenant.Action(i)
		h := http.Header{}
		setRateLimit(h, contract.RateLimit{Action: action.String(), Limit: 10, Remaining: 9, ResetMS: 36_001})
		want := http.Header{
			"RateLimit-Policy": {fmt.Sprintf(`"%s";q=10;w=%d`, action, action.Window()/time.Second)},
			"RateLimit":        {fmt.Sprintf(`"%s";r=9;t=37`, action)},
		}
		if diff := cmp.Diff(want, h); diff != "" {
			t.Errorf("%s (-want +got)\n%s", action, diff)
		}
	}
	for _, l := range []contract.RateLimit{{}, {Action: "command", Limit: -1, Remaining: -1}, {Action: "\"\r\n", Limit: 1}} {
		h := http.Header{}
		if setRateLimit(h, l); len(h) != 0 {
			t.Errorf("%+v: %v, want no headers", l, h)
		}
	}
}

func TestSeconds(t *testing.T) {
	for ms, want := range map[int64]int64{-1: 0, 0: 0, 1: 1, 999: 1, 1_000: 1, 1_001: 2, 36_001: 37} {
		if got := seconds(ms); got != want {
			t.Errorf("seconds(%d) = %d, want %d", ms, got, want)
		}
	}
}

// TestMetrics holds the exposition's names, help, types and labels, without the values, against the golden file.
func TestMetrics(t *testing.T) {
	b := newBed(t, nil)
	b.work(t, always(`{"status":"ok"}`))
	for _, path := range []string{"/v1/commands", "/v1/events", "/never/seen", "/never/seen/either"} {
		b.post(t, path, good)
	}
	testserver.Eventually(t, "all requests are counted", func() bool {
		families, err := b.registry.Gather()
		if err != nil {
			t.Fatal(err)
		}
		n := 0.0
		for _, f := range families {
			for _, m := range f.GetMetric() {
				if f.GetName() == "arrakis_ingress_requests_total" {
					n += m.GetCounter().GetValue()
				}
			}
		}
		return n == 4
	})
	rec := httptestGet(promhttp.HandlerFor(b.registry, promhttp.HandlerOpts{}))
	var lines strings.Builder
	for line := range strings.Lines(rec) {
		if name, _, ok := strings.Cut(line, "} "); ok {
			line = name + "}\n"
		}
		if !strings.Contains(line, "_bucket{") || strings.Contains(line, "+Inf") {
			lines.WriteString(line)
		}
	}
	testserver.Golden(t, "golden/metrics.txt", lines.String())
}

func TestAccepted(t *testing.T) {
	e := contract.Envelope{EventID: `a"b\c`, TenantKey: "comm_001"}
	var got map[string]string
	if err := json.Unmarshal(accepted(&message{envelope: e}).body, &got); err != nil {
		t.Fatal(err)
	}
	want := map[string]string{"event_id": `a"b\c`, "community_id": "comm_001", "status": "accepted"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}
