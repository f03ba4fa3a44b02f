package ops

import (
	"context"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/goleak"

	"arrakis/pipeline/http/auth"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// get sends one request and returns the answer.
func get(h http.Handler, path, authorization string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodGet, "http://localhost:8081"+path, http.NoBody)
	r.Header.Set("Authorization", authorization)
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func handler(t *testing.T, o Options) http.Handler {
	t.Helper()
	h, err := Handler(o)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func fixed(s Status, detail string) Check {
	return func(context.Context) Result { return Result{s, detail} }
}

func TestReady(t *testing.T) {
	tests := []struct {
		name   string
		checks map[string]Check
		drain  bool
		code   int
		body   string
	}{
		{"no checks", nil, false, 200, `{"status":"ready"}`},
		{"ready", map[string]Check{"nats": fixed(OK, ""), "redis": fixed(OK, "")}, false, 200, `{"status":"ready","checks":{"nats":{"status":"ok"},"redis":{"status":"ok"}}}`},
		{"degraded", map[string]Check{"nats": fixed(OK, ""), "redis": fixed(Degraded, "limits are enforced locally")}, false, 200, `{"status":"degraded","checks":{"nats":{"status":"ok"},"redis":{"status":"degraded","detail":"limits are enforced locally"}}}`},
		{"not ready", map[string]Check{"nats": fixed(Failed, "disconnected"), "redis": fixed(Degraded, "")}, false, 503, `{"status":"not_ready","checks":{"nats":{"status":"failed","detail":"disconnected"},"redis":{"status":"degraded"}}}`},
		{"unknown status", map[string]Check{"nats": fixed("", "")}, false, 503, `{"status":"not_ready","checks":{"nats":{"status":""}}}`},
		{"draining", map[string]Check{"nats": fixed(OK, "")}, true, 503, `{"status":"draining","checks":{"nats":{"status":"ok"}}}`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			health := NewHealth(tt.checks)
			if tt.drain {
				health.SetDraining()
			}
			h := handler(t, Options{Health: health})
			for _, path := range []string{"/readyz", "/ready"} {
				w := get(h, path, "")
				if diff := cmp.Diff(tt.body+"\n", w.Body.String()); w.Code != tt.code || diff != "" {
					t.Errorf("%s: %d (-want +got)\n%s", path, w.Code, diff)
				}
				if w.Header().Get("Cache-Control") != "no-store" || w.Header().Get("Content-Type") != "application/json" {
					t.Errorf("%s: headers %v", path, w.Header())
				}
			}
			for _, path := range []string{"/healthz", "/health"} {
				if w := get(h, path, ""); w.Code != http.StatusOK || w.Body.String() != `{"status":"ok"}`+"\n" {
					t.Errorf("%s: %d %s", path, w.Code, w.Body)
				}
			}
		})
	}
}

func TestHealthMethods(t *testing.T) {
	ts := httptest.NewServer(handler(t, Options{Health: NewHealth(nil)}))
	defer ts.Close()
	for _, path := range []string{"/healthz", "/readyz"} {
		for method, want := range map[string]int{http.MethodHead: 200, http.MethodGet: 200, http.MethodPost: 405} {
			r, err := http.NewRequestWithContext(t.Context(), method, ts.URL+path, http.NoBody)
			if err != nil {
				t.Fatal(err)
			}
			resp, err := ts.Client().Do(r)
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close() //nolint:errcheck // only read
			if resp.StatusCode != want || want == http.StatusMethodNotAllowed && resp.Header.Get("Allow") != "GET, HEAD" {
				t.Errorf("%s %s: %s %v", method, path, resp.Status, resp.Header)
			}
		}
	}
}

// TestHealthMetrics: a scrape says the same as /readyz.
func TestHealthMetrics(t *testing.T) {
	health := NewHealth(map[string]Check{
		"nats": fixed(OK, ""), "redis": fixed(Degraded, "away"), "consumers": fixed(Failed, "gone"), "config": fixed("", ""),
	})
	want := `# HELP arrakis_check_status A check of /readyz: 0 ok, 1 degraded, 2 failed.
# TYPE arrakis_check_status gauge
arrakis_check_status{check="config"} 2
arrakis_check_status{check="consumers"} 2
arrakis_check_status{check="nats"} 0
arrakis_check_status{check="redis"} 1
# HELP arrakis_ready 1 while /readyz answers 200, else 0.
# TYPE arrakis_ready gauge
arrakis_ready 0
`
	if err := testutil.CollectAndCompare(health, strings.NewReader(want)); err != nil {
		t.Error(err)
	}
	degraded := NewHealth(map[string]Check{"redis": fixed(Degraded, "away")})
	ready := func() float64 {
		reg := prometheus.NewRegistry()
		reg.MustRegister(degraded)
		families, err := reg.Gather()
		if err != nil {
			t.Fatal(err)
		}
		return families[1].GetMetric()[0].GetGauge().GetValue()
	}
	if ready() != 1 {
		t.Error("a degraded process is not ready")
	}
	degraded.SetDraining()
	if ready() != 0 {
		t.Error("a draining process is ready")
	}
}

// TestChecksAreShared: many probes at once, and again within a second, cost one round; a second later there is another.
func TestChecksAreShared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var rounds atomic.Int32
		h := handler(t, Options{Health: NewHealth(map[string]Check{"redis": func(context.Context) Result {
			rounds.Add(1)
			time.Sleep(100 * time.Millisecond) //nolint:forbidigo // in a bubble
			return Result{Status: OK}
		}})})
		var wg sync.WaitGroup
		for range 10 {
			wg.Go(func() { get(h, "/readyz", "") })
		}
		wg.Wait()
		time.Sleep(reportAge - time.Millisecond) //nolint:forbidigo // in a bubble
		get(h, "/readyz", "")
		if n := rounds.Load(); n != 1 {
			t.Errorf("%d rounds within a second, want 1", n)
		}
		time.Sleep(time.Millisecond) //nolint:forbidigo // in a bubble
		get(h, "/readyz", "")
		if n := rounds.Load(); n != 2 {
			t.Errorf("%d rounds after a second, want 2", n)
		}
	})
}

// TestSlowCheck: a check that does not answer has failed after 2 s, and the probe that began it may leave before.
func TestSlowCheck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := handler(t, Options{Health: NewHealth(map[string]Check{"redis": func(ctx context.Context) Result {
			<-ctx.Done()
			return Result{Status: OK}
		}})})
		ctx, leave := context.WithCancel(t.Context())
		leave()
		start := time.Now()
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequestWithContext(ctx, http.MethodGet, "/readyz", http.NoBody))
		if d := time.Since(start); d != checkTimeout {
			t.Errorf("the answer came after %v, want %v", d, checkTimeout)
		}
		if w.Code != http.StatusServiceUnavailable || !strings.Contains(w.Body.String(), `"detail":"no answer within 2s"`) {
			t.Errorf("%d %s", w.Code, w.Body)
		}
	})
}

func access(t *testing.T, admin, view string, loopback bool) auth.Access {
	t.Helper()
	a := auth.NewAccess(loopback)
	for token, g := range map[string]auth.Grant{admin: auth.Admin, view: auth.Viewer} {
		if token == "" {
			continue
		}
		if err := a.Add(g, token); err != nil {
			t.Fatal(err)
		}
	}
	return a
}

func TestGuard(t *testing.T) {
	admin := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })
	for _, tt := range []struct {
		name, token, sent string
		loopback          bool
		admin, pprof      int
	}{
		{"loopback, no token", "", "", true, 204, 200},
		{"open, no token", "", "", false, 403, 403},
		{"open, no token, one sent", "", "Bearer x", false, 403, 403},
		{"open, right token", "secret", "Bearer secret", false, 204, 200},
		{"open, wrong token", "secret", "Bearer wrong", false, 401, 401},
		{"loopback, token not sent", "secret", "", true, 401, 401},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := handler(t, Options{
				Health: NewHealth(nil), Gatherer: prometheus.NewRegistry(), Admin: admin, Access: access(t, tt.token, "", tt.loopback), Loopback: tt.loopback,
			})
			for path, want := range map[string]int{
				"/v1/tenants": tt.admin, "/debug/pprof/": tt.pprof, "/debug/pprof/cmdline": tt.pprof, "/debug/pprof/heap": tt.pprof,
				"/debug/pprof/symbol": tt.pprof, "/metrics": 200, "/healthz": 200, "/readyz": 200, "/other": 404,
			} {
				if w := get(h, path, tt.sent); w.Code != want {
					t.Errorf("%s: %d, want %d", path, w.Code, want)
				}
			}
		})
	}
}

// TestF14ForeignHost: the admin API answered for any host, so that a web page could give its own name the address
// 127.0.0.1 (DNS rebinding) and do with the admin API what the operator at that machine may do.
func TestF14ForeignHost(t *testing.T) {
	admin := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })
	hosts, err := auth.NewHosts("ops.example.com")
	if err != nil {
		t.Fatal(err)
	}
	for _, token := range []string{"", "secret"} {
		for _, loopback := range []bool{true, false} {
			h := handler(t, Options{
				Health: NewHealth(nil), Gatherer: prometheus.NewRegistry(), Admin: admin, Access: access(t, token, "", loopback), Hosts: hosts, Loopback: loopback,
			})
			ask := func(host, path string) *httptest.ResponseRecorder {
				r := httptest.NewRequest(http.MethodPost, "http://"+host+path, http.NoBody)
				if path == "/metrics" || path == "/healthz" {
					r.Method = http.MethodGet
				}
				r.Header.Set("Authorization", "Bearer "+token)
				r.Header.Set("Origin", "http://"+host) // as after DNS rebinding: the browser takes it for the same site
				w := httptest.NewRecorder()
				h.ServeHTTP(w, r)
				return w
			}
			for _, path := range []string{"/v1/reload", "/v1/tenants", "/debug/pprof/", "/debug/pprof/cmdline", "/debug/pprof/profile", "/", "/other"} {
				w := ask("evil.example:8081", path)
				if w.Code != http.StatusForbidden || !strings.Contains(w.Body.String(), "foreign-host") || !strings.Contains(w.Body.String(), "OPS_HOSTS") {
					t.Errorf("token %q, loopback %v, %s: %d %s", token, loopback, path, w.Code, w.Body)
				}
			}
			if w := ask("ops.example.com", "/v1/reload"); (w.Code == http.StatusNoContent) != (loopback || token != "") {
				t.Errorf("token %q, loopback %v, an allowed name: %d %s", token, loopback, w.Code, w.Body)
			}
			if w := ask("evil.example", "/healthz"); w.Code != http.StatusOK {
				t.Errorf("health is for any host: %d %s", w.Code, w.Body)
			}
			// Prometheus asks for the name of a service.
			if w := ask("arrakis:8081", "/metrics"); (w.Code == http.StatusOK) == loopback {
				t.Errorf("loopback %v, metrics: %d %s", loopback, w.Code, w.Body)
			}
		}
	}
}

// TestF14ForeignOrigin: a page of any site could make a browser POST to the admin API on loopback without a body, such
// as /v1/reload or a replay.
func TestF14ForeignOrigin(t *testing.T) {
	admin := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })
	for _, token := range []string{"", "secret"} {
		h := handler(t, Options{Health: NewHealth(nil), Admin: admin, Access: access(t, token, "", true), Loopback: true})
		for _, method := range []string{http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete} {
			for _, headers := range []map[string]string{
				{"Origin": "https://evil.example"},
				{"Origin": "null"},
				{"Origin": "http://localhost:3000"}, // another program of this machine
				{"Sec-Fetch-Site": "cross-site"},
				{"Sec-Fetch-Site": "same-site", "Origin": "http://localhost:3000"},
				{"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Origin": "https://evil.example"}, // a form
			} {
				r := httptest.NewRequest(method, "http://localhost:8081/v1/reload", http.NoBody)
				r.Header.Set("Authorization", "Bearer "+token)
				for name, value := range headers {
					r.Header.Set(name, value)
				}
				w := httptest.NewRecorder()
				h.ServeHTTP(w, r)
				if w.Code != http.StatusForbidden || !strings.Contains(w.Body.String(), "foreign-origin") {
					t.Errorf("token %q, %s with %v: %d %s", token, method, headers, w.Code, w.Body)
				}
			}
		}
	}
}

// The command line has no arguments, because flags may hold secrets.
func TestCommandLine(t *testing.T) {
	w := get(handler(t, Options{Health: NewHealth(nil), Access: access(t, "", "", true)}), "/debug/pprof/cmdline", "")
	if w.Code != http.StatusOK || w.Body.String() != os.Args[0] {
		t.Errorf("%d %q", w.Code, w.Body)
	}
}

func TestMetrics(t *testing.T) {
	reg := prometheus.NewRegistry()
	reg.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "arrakis_test", Help: "A gauge."}, func() float64 { return 7 }))
	w := get(handler(t, Options{Health: NewHealth(nil), Gatherer: reg}), "/metrics", "")
	if w.Code != http.StatusOK || !strings.Contains(w.Body.String(), "arrakis_test 7") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

func TestOptional(t *testing.T) {
	h := handler(t, Options{Health: NewHealth(nil)})
	for _, path := range []string{"/metrics", "/v1/tenants", "/"} {
		if w := get(h, path, ""); w.Code != http.StatusNotFound || w.Header().Get("Content-Type") != "application/problem+json" {
			t.Errorf("%s: %d %s", path, w.Code, w.Body)
		}
	}
}

func TestBadOptions(t *testing.T) {
	if _, err := Handler(Options{}); err == nil {
		t.Error("no Health: no error")
	}
}
