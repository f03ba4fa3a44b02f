// Package auth checks the bearer tokens (RFC 6750) of requests to the HTTP addresses.
package auth

import (
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"net/http"
	"strings"

	"arrakis/pipeline/http/problem"
)

// Bearer checks the bearer token of requests. The zero value asks for no token. A Bearer keeps a digest of the token,
// not the token itself.
type Bearer struct {
	required bool
	digest   [sha256.Size]byte
}

// NewBearer makes a Bearer that asks for token, which must be at most 4,096 visible ASCII characters. If token is "",
// the Bearer asks for no token.
func NewBearer(token string) (Bearer, error) {
	if token == "" {
		return Bearer{}, nil
	}
	if len(token) > 4_096 || strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return Bearer{}, errors.New("must be visible ASCII without spaces, at most 4096 characters")
	}
	return Bearer{required: true, digest: sha256.Sum256([]byte(token))}, nil
}

// Required reports whether requests need a token.
func (b Bearer) Required() bool { return b.required }

// Check returns nil if the request may pass. Otherwise it returns a problem and sets the header WWW-Authenticate in h.
// It takes the same time for every wrong token.
func (b Bearer) Check(h http.Header, r *http.Request) *problem.Problem {
	if !b.required {
		return nil
	}
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	digest := sha256.Sum256([]byte(strings.Trim(token, " ")))
	if strings.EqualFold(scheme, "Bearer") && subtle.ConstantTimeCompare(digest[:], b.digest[:]) == 1 {
		return nil
	}
	h.Set("WWW-Authenticate", `Bearer realm="arrakis"`)
	return problem.New(http.StatusUnauthorized, "unauthorized",
		"The bearer token is missing or wrong. Send the header Authorization: Bearer <token> with the token that arrakis was started with.")
}
