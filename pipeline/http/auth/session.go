package auth

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"strconv"
	"strings"
	"time"
)

const (
	// sessionCookie is the name of the cookie. It is bound to the host, not to the port: two arrakis on one host share
	// it, and with it a session if they share the token.
	sessionCookie = "arrakis_session"
	// sessionTime is how long a session lasts: a working day.
	sessionTime = 12 * time.Hour
	// maxSessions bounds the cookies of a request that are looked at.
	maxSessions = 4
)

// LogIn makes the cookie of a session for a token. It returns nil if the token is wrong.
func (a Access) LogIn(r *http.Request, token string, now time.Time) *http.Cookie {
	t := a.find(token)
	if t == nil {
		return nil
	}
	signed := t.Name + "." + strconv.FormatInt(now.Add(sessionTime).Unix(), 10) + "." + rand.Text()
	c := cookie(r, signed+"."+base64.RawURLEncoding.EncodeToString(sign(t.digest, signed))) //nolint:gosec // see cookie
	c.MaxAge = int(sessionTime.Seconds())
	return c
}

// LogOut is the cookie that removes a session from the browser.
func LogOut(r *http.Request) *http.Cookie {
	c := cookie(r, "") //nolint:gosec // see cookie
	c.MaxAge = -1
	return c
}

// cookie makes the session's cookie: no script reads it, and the browser sends it with no request that another site
// made.
func cookie(r *http.Request, value string) *http.Cookie {
	return &http.Cookie{ //nolint:gosec // Secure wherever there is TLS: without it a browser would not keep the cookie
		Name: sessionCookie, Value: value, Path: "/", HttpOnly: true, SameSite: http.SameSiteStrictMode, Secure: r.TLS != nil,
	}
}

// session returns what the request may do by its cookies, and until when: by the one that gives most scopes. A browser sends
// an old one too if it has a narrower path, and in front of the new one.
func (a Access) session(r *http.Request, now time.Time) (best Grant, until time.Time) {
	cookies := r.CookiesNamed(sessionCookie)
	for _, c := range cookies[:min(len(cookies), maxSessions)] {
		if g, end := a.grantOf(c.Value, now); g.breadth() > best.breadth() {
			best, until = g, end
		}
	}
	return best, until
}

// breadth is higher for a grant that gives more scopes.
func (g Grant) breadth() int {
	n := 0
	for _, s := range Scopes {
		if g.Allows(s) {
			n++
		}
	}
	return n
}

// grantOf returns what a session gives, and when it ends.
func (a Access) grantOf(session string, now time.Time) (Grant, time.Time) {
	// name of the token "." end in unix seconds "." nonce "." MAC of all before it; a name may have dots
	signed, sum, _ := cutLast(session)
	named, _, _ := cutLast(signed)
	name, ends, ok := cutLast(named)
	mac, err := base64.RawURLEncoding.DecodeString(sum)
	if !ok || err != nil {
		return Grant{}, time.Time{}
	}
	end, err := strconv.ParseInt(ends, 10, 64)
	until := time.Unix(end, 0)
	if err != nil || !now.Before(until) {
		return Grant{}, time.Time{}
	}
	var g Grant
	for i := range a.tokens {
		if t := &a.tokens[i]; t.Name == name && hmac.Equal(mac, sign(t.digest, signed)) {
			g = t.Grant
		}
	}
	return g, until
}

// cutLast cuts s at its last dot.
func cutLast(s string) (before, after string, found bool) {
	i := strings.LastIndexByte(s, '.')
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+1:], true
}

// sign is the MAC of a session under a key that only a process with the token can derive.
func sign(token [sha256.Size]byte, signed string) []byte {
	key := hmac.New(sha256.New, token[:])
	key.Write([]byte("arrakis session"))
	mac := hmac.New(sha256.New, key.Sum(nil))
	mac.Write([]byte(signed))
	return mac.Sum(nil)
}
