package auth

import (
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"arrakis/pipeline/http/problem"
)

// maxTokens bounds the tokens of one Bearer, because each request is compared with all of them.
const maxTokens = 16

// Bearer checks the bearer token of requests. The zero value asks for no token. A Bearer keeps digests of the tokens,
// not the tokens themselves.
type Bearer struct{ digests [][sha256.Size]byte }

// NewBearer makes a Bearer that asks for one of tokens: several are valid while one is rotated. Without tokens it asks
// for none. There may be 16 tokens, each of 1 to 4,096 visible ASCII characters.
func NewBearer(tokens ...string) (Bearer, error) {
	if len(tokens) > maxTokens {
		return Bearer{}, fmt.Errorf("has %d tokens, want at most %d: remove those that nobody uses any more", len(tokens), maxTokens)
	}
	digests := make([][sha256.Size]byte, len(tokens))
	for i, token := range tokens {
		if token == "" {
			return Bearer{}, errors.New("has an empty token: remove the comma, or write a token beside it")
		}
		if len(token) > 4_096 || strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r > '~' }) {
			return Bearer{}, errors.New("must be visible ASCII without spaces, at most 4096 characters")
		}
		digests[i] = sha256.Sum256([]byte(token))
	}
	return Bearer{digests}, nil
}

// Required reports whether requests need a token.
func (b Bearer) Required() bool { return len(b.digests) > 0 }

// Check returns nil if the request may pass. Otherwise it returns a problem and sets the header WWW-Authenticate in h.
// It takes the same time for every token, right or wrong.
func (b Bearer) Check(h http.Header, r *http.Request) *problem.Problem {
	if !b.Required() {
		return nil
	}
	if token, ok := bearerToken(r); ok && b.find(token) >= 0 {
		return nil
	}
	return unauthorized(h)
}

// bearerToken is the token that the request carries. Without one ok is false, but the token is as good as any other for
// a comparison.
func bearerToken(r *http.Request) (token string, ok bool) {
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	return strings.Trim(token, " "), strings.EqualFold(scheme, "Bearer")
}

// find returns the index of the token, or -1. It takes the same time for every token of a length, right or wrong.
func (b Bearer) find(token string) int {
	digest, found := sha256.Sum256([]byte(token)), -1
	for i := range b.digests {
		found = subtle.ConstantTimeSelect(subtle.ConstantTimeCompare(digest[:], b.digests[i][:]), i, found)
	}
	return found
}

// unauthorized says that a token is needed, and sets the header WWW-Authenticate in h.
func unauthorized(h http.Header) *problem.Problem {
	h.Set("WWW-Authenticate", `Bearer realm="arrakis"`)
	return problem.New(http.StatusUnauthorized, "unauthorized",
		"The bearer token is missing or wrong. Send the header Authorization: Bearer <token> with a token that arrakis was started with.")
}
