package auth

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"
)

// access has the tokens of ADMIN_TOKEN, VIEW_TOKEN and ADMIN_TOKENS.
func access(t *testing.T, admin, view, named string, loopback bool) Access {
	t.Helper()
	list := func(tokens string) []string {
		if tokens == "" {
			return nil
		}
		return strings.Split(tokens, ",")
	}
	a := NewAccess(loopback)
	tokens, err := ParseNamedTokens(list(named))
	err = errors.Join(err, a.Add(Admin, list(admin)...), a.Add(Viewer, list(view)...))
	for _, n := range tokens {
		err = errors.Join(err, a.Add(n.Grant, n.Token))
	}
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// grant is what a request may do, as one line.
func grant(a Access, r *http.Request, now time.Time) string {
	g, _ := a.Grant(r, now)
	return strings.TrimSpace(g.Name + " " + join(g.Scopes, "+"))
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
		admin, view, named string
		loopback           bool
		sent               string
		want               string // name and scopes; "" for none
	}{
		{"", "", "", true, "", "local all"},
		{"", "", "", false, "", ""},
		{"", "", "", false, "Bearer ", ""},
		{"a,b", "v,w", "", false, "Bearer b", "admin all"},
		{"a,b", "v,w", "", false, "bearer w", "view view"},
		{"a,b", "v,w", "", false, "Bearer x", ""},
		{"a,b", "v,w", "", false, "Basic a", ""},
		{"a,b", "v,w", "", true, "", ""}, // a token is asked for on loopback too
		{"", "v", "", true, "", ""},      // nobody may change anything where only VIEW_TOKEN is set
		{"", "v", "", true, "Bearer v", "view view"},
		{"", "v", "", true, "Bearer ", ""},
		{"a", "v", "ada=all:x,bob=limits+view:y", false, "Bearer a", "admin all"},
		{"a", "v", "ada=all:x,bob=limits+view:y", false, "Bearer x", "ada all"},
		{"a", "v", "ada=all:x,bob=limits+view:y", false, "Bearer y", "bob limits+view"},
		{"", "", "bob=tiers:y", true, "", ""},
		{"", "", "bob=tiers:old,bob=tiers:new", true, "Bearer new", "bob tiers"},
		{"", "", "bob=tiers:a:b=c", true, "Bearer a:b=c", "bob tiers"},
	} {
		a := access(t, tt.admin, tt.view, tt.named, tt.loopback)
		if got := grant(a, request(tt.sent), time.Now()); got != tt.want {
			t.Errorf("%+v: %q", tt, got)
		}
	}
}

// Each scope gives itself and looking, and nothing else, but for the one that gives all.
func TestScopes(t *testing.T) {
	for _, given := range append([]Scope{""}, Scopes...) {
		g := Grant{Name: "ada"}
		if given != "" {
			g.Scopes = []Scope{given}
		}
		for _, needed := range Scopes {
			want := given == needed || given == All || needed == View && given != ""
			if g.Allows(needed) != want || (g.Check(needed) == nil) != want || g.Check(needed, needed) == nil != want {
				t.Errorf("%q gives %q: %t, want %t", given, needed, !want, want)
			}
		}
		if g.Allows("") != (given == All) || g.Check() == nil {
			t.Errorf("%q gives what needs an unknown scope, or none", given)
		}
	}
	g := Grant{Name: "ada", Scopes: []Scope{Limits, DeadLetters}}
	if g.Check(Tiers, Limits) != nil || g.Check(Limits, Tiers) != nil {
		t.Error("one of two scopes is not enough")
	}
	p := g.Check(Tiers)
	if p.Status != http.StatusForbidden || p.Type != "urn:arrakis:problem:scope-needed" || !strings.Contains(p.Detail, `the scope tiers; the token "ada" has limits, deadletters`) {
		t.Errorf("%+v", p)
	}
}

// A token has one grant. Tokens that cannot be used change nothing.
func TestAdd(t *testing.T) {
	limited := Grant{Name: "ada", Scopes: []Scope{Limits, View}}
	for _, tt := range []struct {
		Grant
		tokens []string
		ok     bool
	}{
		{limited, []string{"mine", "new"}, true},
		{Grant{"ada", []Scope{View, Limits, View}}, []string{"mine"}, true}, // the same
		{Grant{"ada", []Scope{Limits}}, []string{"mine"}, false},
		{Grant{"bob", []Scope{Limits, View}}, []string{"mine"}, false},
		{Admin, []string{"new", "mine"}, false},
		{Admin, []string{""}, false},
		{Admin, slices.Repeat([]string{"t"}, maxTokens+1), false},
		{Grant{"", []Scope{All}}, []string{"new"}, false},
		{Grant{"Ada", []Scope{All}}, []string{"new"}, false},
		{Grant{"a b", []Scope{All}}, []string{"new"}, false},
		{Grant{strings.Repeat("a", 33), []Scope{All}}, []string{"new"}, false},
		{Grant{strings.Repeat("a", 32), []Scope{All}}, []string{"new"}, true},
		{Grant{"a.b-c_9", []Scope{All}}, []string{"new"}, true},
		{Grant{"ada", nil}, []string{"new"}, false},
		{Grant{"ada", []Scope{"root"}}, []string{"new"}, false},
		{Grant{"ada", []Scope{All, ""}}, []string{"new"}, false},
	} {
		a := NewAccess(false)
		if err := a.Add(limited, "mine"); err != nil {
			t.Fatal(err)
		}
		err := a.Add(tt.Grant, tt.tokens...)
		if (err == nil) != tt.ok || err != nil && strings.Contains(err.Error(), "mine") {
			t.Errorf("%+v with %.20q: %v", tt.Grant, tt.tokens, err)
		}
		if got := grant(a, request("Bearer new"), time.Now()); (got == "") == (tt.ok && slices.Contains(tt.tokens, "new")) {
			t.Errorf("%+v with %.20q: the token gives %q", tt.Grant, tt.tokens, got)
		}
	}
	a := NewAccess(false)
	for i := range maxGranted {
		if err := a.Add(Admin, fmt.Sprint(i)); err != nil {
			t.Fatal(err)
		}
	}
	if err := a.Add(Admin, "one-more"); err == nil {
		t.Error("more tokens than an access may have")
	}
}

func TestCheckAccess(t *testing.T) {
	a := access(t, "a", "v", "", false)
	for _, tt := range []struct {
		has    Grant
		needed Scope
		status int // 0: passes
	}{
		{Grant{}, View, 401}, {Grant{}, All, 401}, {Viewer, View, 0}, {Viewer, All, 403}, {Admin, View, 0}, {Admin, All, 0},
	} {
		h := http.Header{}
		p := a.Check(h, tt.has, tt.needed)
		got := 0
		if p != nil {
			got = p.Status
		}
		if got != tt.status || (h.Get("WWW-Authenticate") != "") != (got == http.StatusUnauthorized) {
			t.Errorf("%v for %v: %d, want %d; %v", tt.has, tt.needed, got, tt.status, h)
		}
	}
	closed := NewAccess(false)
	if p := closed.Check(http.Header{}, Grant{}, View); p == nil || p.Status != http.StatusForbidden {
		t.Errorf("without tokens: %+v", p)
	}
}

func TestCanChange(t *testing.T) {
	for _, tt := range []struct {
		admin, view, named string
		loopback, want     bool
	}{
		{"", "", "", true, true},
		{"", "", "", false, false},
		{"a", "", "", false, true},
		{"", "v", "", true, false},
		{"", "v", "ada=view:x", true, false},
		{"", "v", "ada=deadletters:x", false, true},
	} {
		if got := access(t, tt.admin, tt.view, tt.named, tt.loopback).CanChange(); got != tt.want {
			t.Errorf("%+v: %t", tt, got)
		}
	}
}

func TestWithGrant(t *testing.T) {
	ctx, cancel := WithGrant(t.Context(), Viewer, time.Now().Add(-time.Second))
	defer cancel()
	if GrantOf(ctx).Name != "view" || ctx.Err() == nil {
		t.Errorf("grant %v, %v: a context ends with its session", GrantOf(ctx), ctx.Err())
	}
	if GrantOf(t.Context()).Allows(View) {
		t.Error("a context without a grant has one")
	}
}
