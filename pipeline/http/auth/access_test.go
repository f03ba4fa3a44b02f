package auth

import (
	"crypto/tls"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

func access(t *testing.T, admin, view string, loopback bool) Access {
	t.Helper()
	bearer := func(tokens string) Bearer {
		if tokens == "" {
			return Bearer{}
		}
		b, err := NewBearer(strings.Split(tokens, ",")...)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	a, err := NewAccess(bearer(admin), bearer(view), loopback)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func request(authorization string, cookies ...*http.Cookie) *http.Request {
	r := httptest.NewRequest(http.MethodGet, "http://localhost/", http.NoBody)
	if authorization != "" {
		r.Header.Set("Authorization", authorization)
	}
	for _, c := range cookies {
		r.AddCookie(c)
	}
	return r
}

func TestGrantByToken(t *testing.T) {
	for _, tt := range []struct {
		admin, view string
		loopback    bool
		sent        string
		want        Role
	}{
		{"", "", true, "", Admin},
		{"", "", false, "", None},
		{"", "", false, "Bearer ", None},
		{"a,b", "v,w", false, "Bearer b", Admin},
		{"a,b", "v,w", false, "bearer w", View},
		{"a,b", "v,w", false, "Bearer x", None},
		{"a,b", "v,w", false, "Basic a", None},
		{"a,b", "v,w", true, "", None}, // a token is asked for on loopback too
		{"", "v", true, "", None},      // nobody is admin where only VIEW_TOKEN is set
		{"", "v", true, "Bearer v", View},
		{"", "v", true, "Bearer ", None},
	} {
		a := access(t, tt.admin, tt.view, tt.loopback)
		if got := a.Grant(request(tt.sent), time.Now()).Role; got != tt.want {
			t.Errorf("admin %q, view %q, loopback %v, sent %q: %v, want %v", tt.admin, tt.view, tt.loopback, tt.sent, got, tt.want)
		}
	}
}

func TestTokenInBoth(t *testing.T) {
	b, err := NewBearer("one", "two")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := NewAccess(b, b, false); err == nil {
		t.Error("no error")
	}
}

func TestCheckRole(t *testing.T) {
	a := access(t, "a", "v", false)
	for _, tt := range []struct {
		has, needed Role
		status      int // 0: passes
	}{
		{None, View, 401}, {None, Admin, 401}, {View, View, 0}, {View, Admin, 403}, {Admin, View, 0}, {Admin, Admin, 0},
	} {
		h := http.Header{}
		p := a.Check(h, Grant{Role: tt.has}, tt.needed)
		got := 0
		if p != nil {
			got = p.Status
		}
		if got != tt.status || (h.Get("WWW-Authenticate") != "") != (got == http.StatusUnauthorized) {
			t.Errorf("%v for %v: %d, want %d; %v", tt.has, tt.needed, got, tt.status, h)
		}
	}
	if p := access(t, "", "", false).Check(http.Header{}, Grant{}, View); p == nil || p.Status != http.StatusForbidden {
		t.Errorf("without tokens: %+v", p)
	}
}

func TestSession(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	a := access(t, "first-admin,second-admin", "the-viewer", false)
	for token, want := range map[string]Role{"first-admin": Admin, "second-admin": Admin, "the-viewer": View} {
		c := a.LogIn(request(""), token, now)
		if c == nil {
			t.Fatalf("%s: no session", token)
		}
		if strings.Contains(c.Value, token) {
			t.Errorf("the cookie holds the token: %s", c.Value)
		}
		g := a.Grant(request("", c), now)
		if g.Role != want || !g.Until.Equal(now.Add(sessionTime)) {
			t.Errorf("%s: %+v", token, g)
		}
		if g := a.Grant(request("", c), now.Add(sessionTime)); g.Role != None {
			t.Errorf("%s: after its end: %+v", token, g)
		}
		if g := a.Grant(request("Bearer wrong", c), now); g.Role != None {
			t.Errorf("%s: with a wrong bearer token beside it: %+v", token, g)
		}
		// A process with the same token takes it, one without does not: rotation ends sessions.
		if g := access(t, "new,"+token, "", false).Grant(request("", c), now); want == Admin && g.Role != Admin {
			t.Errorf("%s: another process: %+v", token, g)
		}
		if g := access(t, "new", "newer", false).Grant(request("", c), now); g.Role != None {
			t.Errorf("%s: after rotation: %+v", token, g)
		}
	}
	for _, token := range []string{"", "x", "first-admin,second-admin", "first-admin "} {
		if c := a.LogIn(request(""), token, now); c != nil {
			t.Errorf("%q: a session", token)
		}
	}
}

// A token that was ADMIN_TOKEN and is VIEW_TOKEN now gives its old sessions nothing.
func TestSessionOfDemotedToken(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	c := access(t, "a", "", false).LogIn(request(""), "a", now)
	if g := access(t, "b", "a", false).Grant(request("", c), now); g.Role != None {
		t.Errorf("%+v", g)
	}
}

// A browser may send several sessions: the one that gives the most counts, wherever it stands among a few.
func TestSeveralSessions(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	a := access(t, "a", "v", false)
	admin, view := a.LogIn(request(""), "a", now), a.LogIn(request(""), "v", now)
	old := a.LogIn(request(""), "a", now.Add(-sessionTime))
	for _, tt := range []struct {
		sent []*http.Cookie
		want Role
	}{
		{[]*http.Cookie{old, admin}, Admin},
		{[]*http.Cookie{admin, old}, Admin},
		{[]*http.Cookie{view, old, admin}, Admin},
		{[]*http.Cookie{old, view}, View},
		{[]*http.Cookie{old, old}, None},
		{[]*http.Cookie{old, old, old, old, admin}, None}, // too many to look at
	} {
		if g := a.Grant(request("", tt.sent...), now); g.Role != tt.want {
			t.Errorf("%v: %v, want %v", tt.sent, g.Role, tt.want)
		}
	}
}

func TestForgedSession(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	a := access(t, "a", "v", false)
	c := a.LogIn(request(""), "v", now)
	parts := strings.Split(c.Value, ".")
	for name, value := range map[string]string{
		"role":    "admin." + strings.Join(parts[1:], "."),
		"end":     parts[0] + ".1900000000." + parts[2] + "." + parts[3],
		"nonce":   parts[0] + "." + parts[1] + ".X." + parts[3],
		"no MAC":  strings.Join(parts[:3], ".") + ".",
		"bad MAC": strings.Join(parts[:3], ".") + ".%",
		"short":   "view",
		"empty":   "",
		"longer":  c.Value + ".x",
		"role x":  "none." + strings.Join(parts[1:], "."),
	} {
		if g := a.Grant(request("", &http.Cookie{Name: sessionCookie, Value: value}), now); g.Role != None {
			t.Errorf("%s: %+v", name, g)
		}
	}
}

func TestCookieAttributes(t *testing.T) {
	a := access(t, "a", "", false)
	plain, secure := request(""), request("")
	secure.TLS = &tls.ConnectionState{}
	for _, r := range []*http.Request{plain, secure} {
		for _, c := range []*http.Cookie{a.LogIn(r, "a", time.Now()), LogOut(r)} {
			if !c.HttpOnly || c.SameSite != http.SameSiteStrictMode || c.Path != "/" || c.Domain != "" || c.Secure != (r.TLS != nil) {
				t.Errorf("TLS %v: %s", r.TLS != nil, c)
			}
		}
	}
}

func TestAttempts(t *testing.T) {
	a, now := NewAttempts(), time.Unix(1_800_000_000, 0)
	fails, succeeds := func() bool { return false }, func() bool { return true }
	for i := range 2 * failuresPerMinute {
		if wait := a.Try(now, succeeds); wait != 0 {
			t.Fatalf("success %d waits %v: only failures count", i, wait)
		}
	}
	for i := range failuresPerMinute {
		if wait := a.Try(now, fails); wait != 0 {
			t.Fatalf("failure %d waits %v", i, wait)
		}
	}
	tried := false
	wait := a.Try(now, func() bool { tried = true; return true })
	if wait != time.Minute/failuresPerMinute || tried {
		t.Errorf("one more waits %v, tried %v: it must not even learn whether its token is right", wait, tried)
	}
	if wait := a.Try(now.Add(wait), succeeds); wait != 0 {
		t.Errorf("after the wait: %v", wait)
	}
}

func TestWithGrant(t *testing.T) {
	ctx, cancel := WithGrant(t.Context(), Grant{View, time.Now().Add(-time.Second)})
	defer cancel()
	if RoleOf(ctx) != View || ctx.Err() == nil {
		t.Errorf("role %v, %v: a context ends with its session", RoleOf(ctx), ctx.Err())
	}
	if RoleOf(t.Context()) != None {
		t.Error("a context without a role has one")
	}
}
