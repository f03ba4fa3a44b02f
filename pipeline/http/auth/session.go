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
	admin, view := a.admin.find(token), a.view.find(token) // both, so that the time says nothing
	role := Admin
	var digest [sha256.Size]byte
	switch {
	case admin >= 0:
		digest = a.admin.digests[admin]
	case view >= 0:
		role, digest = View, a.view.digests[view]
	default:
		return nil
	}
	signed := role.String() + "." + strconv.FormatInt(now.Add(sessionTime).Unix(), 10) + "." + rand.Text()
	c := cookie(r, signed+"."+base64.RawURLEncoding.EncodeToString(sign(digest, signed))) //nolint:gosec // see cookie
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

// session returns what the request may do by its cookies: the most that one of them gives. A browser sends an old one too
// if it has a narrower path, and in front of the new one.
func (a Access) session(r *http.Request, now time.Time) Grant {
	cookies := r.CookiesNamed(sessionCookie)
	best := Grant{}
	for _, c := range cookies[:min(len(cookies), maxSessions)] {
		if g := a.grantOf(c.Value, now); g.Role > best.Role {
			best = g
		}
	}
	return best
}

// grantOf returns what a session gives.
func (a Access) grantOf(session string, now time.Time) Grant {
	// role "." end in unix seconds "." nonce "." MAC of all before it
	parts := strings.Split(session, ".")
	if len(parts) != 4 {
		return Grant{}
	}
	role, tokens := View, a.view
	if parts[0] == Admin.String() {
		role, tokens = Admin, a.admin
	}
	mac, err := base64.RawURLEncoding.DecodeString(parts[3])
	if err != nil {
		return Grant{}
	}
	signed, valid := strings.Join(parts[:3], "."), false
	for _, digest := range tokens.digests {
		valid = hmac.Equal(mac, sign(digest, signed)) || valid
	}
	end, err := strconv.ParseInt(parts[1], 10, 64)
	if until := time.Unix(end, 0); valid && err == nil && now.Before(until) {
		return Grant{Role: role, Until: until}
	}
	return Grant{}
}

// sign is the MAC of a session under a key that only a process with the token can derive.
func sign(token [sha256.Size]byte, signed string) []byte {
	key := hmac.New(sha256.New, token[:])
	key.Write([]byte("arrakis session"))
	mac := hmac.New(sha256.New, key.Sum(nil))
	mac.Write([]byte(signed))
	return mac.Sum(nil)
}
