package auth

import (
	"crypto/tls"
	"net/http"
	"strings"
	"testing"
	"time"
)

func TestSession(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	a := access(t, "first-admin,second-admin", "the-viewer", "a.d.a=limits+tiers:ada-s3cret", false)
	for token, want := range map[string]string{
		"first-admin": "admin all", "second-admin": "admin all", "the-viewer": "view view", "ada-s3cret": "a.d.a limits+tiers",
	} {
		c := a.LogIn(request(""), token, now)
		if c == nil {
			t.Fatalf("%s: no session", token)
		}
		if strings.Contains(c.Value, token) {
			t.Errorf("the cookie holds the token: %s", c.Value)
		}
		if _, until := a.Grant(request("", c), now); grant(a, request("", c), now) != want || !until.Equal(now.Add(sessionTime)) {
			t.Errorf("%s: %q until %v", token, grant(a, request("", c), now), until)
		}
		if g := grant(a, request("", c), now.Add(sessionTime)); g != "" {
			t.Errorf("%s: after its end: %q", token, g)
		}
		if g := grant(a, request("Bearer wrong", c), now); g != "" {
			t.Errorf("%s: with a wrong bearer token beside it: %q", token, g)
		}
		if g := grant(access(t, "new", "newer", "a.d.a=all:newest", false), request("", c), now); g != "" {
			t.Errorf("%s: after rotation: %q", token, g)
		}
	}
	for _, token := range []string{"", "x", "first-admin,second-admin", "first-admin ", "a.d.a"} {
		if c := a.LogIn(request(""), token, now); c != nil {
			t.Errorf("%q: a session", token)
		}
	}
}

// A session gives what its token gives under its name now, on each process: nothing under another name.
func TestSessionElsewhere(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	admin := access(t, "a", "", "", false).LogIn(request(""), "a", now)
	ada := access(t, "", "", "ada=all:a", false).LogIn(request(""), "a", now)
	for _, tt := range []struct {
		cookie             *http.Cookie
		admin, view, named string
		want               string
	}{
		{admin, "b,a", "", "", "admin all"},
		{admin, "b", "a", "", ""}, // ADMIN_TOKEN has become VIEW_TOKEN
		{admin, "b", "", "ada=all:a", ""},
		{ada, "", "", "ada=all:new,ada=all:a", "ada all"},
		{ada, "", "", "ada=view:a", "ada view"},
		{ada, "", "", "bob=all:a", ""},
		{ada, "a", "", "", ""},
	} {
		a := access(t, tt.admin, tt.view, tt.named, false)
		if got := grant(a, request("", tt.cookie), now); got != tt.want {
			t.Errorf("%+v: %q", tt, got)
		}
	}
}

// A browser may send several sessions: the one that gives the most counts, wherever it stands among a few.
func TestSeveralSessions(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	a := access(t, "a", "v", "ada=limits:x,bob=limits+tiers:y", false)
	admin, view, ada, bob := a.LogIn(request(""), "a", now), a.LogIn(request(""), "v", now), a.LogIn(request(""), "x", now), a.LogIn(request(""), "y", now)
	old := a.LogIn(request(""), "a", now.Add(-sessionTime))
	for _, tt := range []struct {
		sent []*http.Cookie
		want string
	}{
		{[]*http.Cookie{old, admin}, "admin all"},
		{[]*http.Cookie{admin, old}, "admin all"},
		{[]*http.Cookie{view, old, admin}, "admin all"},
		{[]*http.Cookie{bob, admin, view}, "admin all"},
		{[]*http.Cookie{view, ada}, "ada limits"},
		{[]*http.Cookie{bob, ada}, "bob limits+tiers"},
		{[]*http.Cookie{old, view}, "view view"},
		{[]*http.Cookie{old, old}, ""},
		{[]*http.Cookie{old, old, old, old, admin}, ""}, // too many to look at
	} {
		if got := grant(a, request("", tt.sent...), now); got != tt.want {
			t.Errorf("%v: %q, want %q", tt.sent, got, tt.want)
		}
	}
}

func TestForgedSession(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	a := access(t, "a", "v", "ada=all:x", false)
	c := a.LogIn(request(""), "v", now)
	parts := strings.Split(c.Value, ".")
	for name, value := range map[string]string{
		"name":    "admin." + strings.Join(parts[1:], "."),
		"ada":     "ada." + strings.Join(parts[1:], "."),
		"end":     parts[0] + ".1900000000." + parts[2] + "." + parts[3],
		"nonce":   parts[0] + "." + parts[1] + ".X." + parts[3],
		"no MAC":  strings.Join(parts[:3], ".") + ".",
		"bad MAC": strings.Join(parts[:3], ".") + ".%",
		"short":   "view",
		"dots":    "...",
		"empty":   "",
		"longer":  c.Value + ".x",
		"before":  "x." + c.Value,
		"no name": strings.Join(parts[1:], "."),
	} {
		if g := grant(a, request("", &http.Cookie{Name: sessionCookie, Value: value}), now); g != "" {
			t.Errorf("%s: %q", name, g)
		}
	}
}

func TestCookieAttributes(t *testing.T) {
	a := access(t, "a", "", "", false)
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
