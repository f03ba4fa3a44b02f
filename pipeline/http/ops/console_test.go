package ops

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"arrakis/pipeline/http/auth"
	"arrakis/tenant/store"
)

// guardedHandler is an ops address with an API and a console that answer with the origin of the request, and its scopes.
func guardedHandler(t *testing.T, a auth.Access) http.Handler {
	t.Helper()
	who := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = fmt.Fprintf(w, "%v %v", store.OriginOf(r.Context()), auth.GrantOf(r.Context()).Scopes)
	})
	return handler(t, Options{Health: NewHealth(nil), Admin: who, Console: who, Access: a})
}

// TestViewOnly: a request that may only look gets what GET and HEAD of pages give, and is refused everything else, by
// whatever way it says who it is. What it asks of the API the API refuses.
func TestViewOnly(t *testing.T) {
	a := access(t, "admin-token", "view-token", false)
	h := guardedHandler(t, a)
	session := func(token string) func(*http.Request) {
		c := a.LogIn(httptest.NewRequest(http.MethodPost, "http://localhost:8081/login", http.NoBody), token, time.Now())
		return func(r *http.Request) { r.AddCookie(c) }
	}
	bearer := func(token string) func(*http.Request) {
		return func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+token) }
	}
	for _, tt := range []struct {
		name  string
		by    func(*http.Request)
		reads int // status of GET and HEAD
		all   int // status of the rest, and of pprof, but not of the API
	}{
		{"view token", bearer("view-token"), 200, 403},
		{"view session", session("view-token"), 200, 403},
		{"admin token", bearer("admin-token"), 200, 200},
		{"admin session", session("admin-token"), 200, 200},
		{"nobody", func(*http.Request) {}, 401, 401},
	} {
		for _, method := range []string{
			http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete,
			http.MethodOptions, http.MethodTrace, "get", "QUERY",
		} {
			for path, want := range map[string]int{"/": tt.reads, "/tenants/x": tt.reads, "/debug/pprof/cmdline": tt.all} {
				if method != http.MethodGet && method != http.MethodHead {
					want = tt.all
				}
				r := httptest.NewRequest(method, "http://localhost:8081"+path, http.NoBody)
				tt.by(r)
				w := httptest.NewRecorder()
				h.ServeHTTP(w, r)
				if w.Code != want {
					t.Errorf("%s: %s %s: %d, want %d: %s", tt.name, method, path, w.Code, want, w.Body)
				}
				if w.Code == http.StatusForbidden && !strings.Contains(w.Body.String(), "scope-needed") {
					t.Errorf("%s: %s %s: %s", tt.name, method, path, w.Body)
				}
			}
		}
	}
}

// TestOrigin: changes are of the token by whose bearer or session they are asked for, of the address that sends them, and
// of the request.
func TestOrigin(t *testing.T) {
	a := access(t, "admin-token", "", false)
	if err := a.Add(auth.Grant{Name: "ada", Scopes: []auth.Scope{auth.Limits, auth.DeadLetters}}, "ada-token"); err != nil {
		t.Fatal(err)
	}
	h := guardedHandler(t, a)
	cookie := a.LogIn(httptest.NewRequest(http.MethodPost, "http://localhost:8081/login", http.NoBody), "ada-token", time.Now())
	for _, tt := range []struct {
		headers []string
		remote  string
		want    string
	}{
		{[]string{"Authorization", "Bearer admin-token"}, "192.0.2.7:4711", "{api:admin 192.0.2.7 r-1} [all]"},
		{[]string{"Authorization", "Bearer ada-token"}, "[2001:db8::7]:4711", "{api:ada 2001:db8::7 r-1} [deadletters limits]"},
		{[]string{"Cookie", cookie.String(), "Sec-Fetch-Site", "same-origin"}, "192.0.2.7:4711", "{console:ada 192.0.2.7 r-1} [deadletters limits]"},
		{[]string{"Authorization", "Bearer ada-token"}, "@", "{api:ada @ r-1} [deadletters limits]"}, // a socket without an address
	} {
		r := httptest.NewRequest(http.MethodPost, "http://localhost:8081/v1/tenants", http.NoBody)
		r.RemoteAddr = tt.remote
		r.Header.Set("X-Request-Id", "r-1")
		for i := 0; i < len(tt.headers); i += 2 {
			r.Header.Set(tt.headers[i], tt.headers[i+1])
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Body.String() != tt.want || w.Header().Get("X-Request-Id") != "r-1" {
			t.Errorf("%v: %s, want %s", tt.headers, w.Body, tt.want)
		}
	}
}

// Pages lead to the log-in and back; what is no page is refused with a problem.
func TestPagesLeadToLogIn(t *testing.T) {
	h := guardedHandler(t, access(t, "admin-token", "", true))
	ask := func(path string, headers ...string) *httptest.ResponseRecorder {
		r := httptest.NewRequest(http.MethodGet, "http://localhost:8081"+path, http.NoBody)
		r.Header.Set("Accept", "text/html,*/*")
		for i := 0; i < len(headers); i += 2 {
			r.Header.Set(headers[i], headers[i+1])
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		return w
	}
	for path, want := range map[string]string{
		"/": "/login", "/tenants?q=a%26b": "/login?next=%2Ftenants%3Fq%3Da%2526b",
	} {
		if w := ask(path); w.Code != http.StatusSeeOther || w.Header().Get("Location") != want {
			t.Errorf("%s: %d to %q, want %q", path, w.Code, w.Header().Get("Location"), want)
		}
	}
	if w := ask("/live", "Accept", "text/event-stream"); w.Code != http.StatusUnauthorized {
		t.Errorf("an event stream: %d", w.Code)
	}
	// A link on another site: the browser keeps the cookie back, so that there may be a session.
	w := ask("/tenants", "Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "navigate")
	if w.Code != http.StatusOK || !strings.Contains(w.Body.String(), `http-equiv="refresh"`) {
		t.Errorf("a link on another site: %d %s", w.Code, w.Body)
	}
	for _, path := range []string{"/login", "/logout", "/assets/x/app.css"} {
		if w := ask(path); w.Code != http.StatusOK || w.Body.String() != "{  } []" {
			t.Errorf("%s: %d %s", path, w.Code, w.Body)
		}
	}
	for _, path := range []string{"/", "/login", "/assets/x/app.css"} {
		for _, headers := range [][]string{{"Origin", "https://evil.example"}, {"Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "no-cors"}} {
			if w := ask(path, headers...); w.Code != http.StatusForbidden {
				t.Errorf("%s for another site (%v): %d", path, headers, w.Code)
			}
		}
	}
}
