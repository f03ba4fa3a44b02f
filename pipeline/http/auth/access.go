package auth

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"arrakis/pipeline/http/problem"
)

// Access gives requests their grants by their tokens. The zero value gives every request none. It is safe for concurrent
// use once all tokens are added. It keeps digests of the tokens, not the tokens themselves.
type Access struct {
	tokens   []grantedToken
	loopback bool
}

// grantedToken is a token, and what it gives.
type grantedToken struct {
	digest [sha256.Size]byte
	Grant
}

// maxGranted bounds the tokens of an Access, because each request is compared with all of them.
const maxGranted = 64

// NewAccess makes an Access without tokens. As long as it has none, every request on a loopback address may do everything,
// because whoever can send it has an account on this machine, and no request on another address may do anything.
func NewAccess(loopback bool) Access { return Access{loopback: loopback} }

// Add adds tokens that give g: several are valid while one is rotated. There may be 16 of them, and 64 in all. The error says
// what is wrong with them, or that one was added for another grant already; then none is added.
func (a *Access) Add(g Grant, tokens ...string) error {
	if err := g.validate(); err != nil {
		return err
	}
	g.Scopes = slices.Compact(slices.Sorted(slices.Values(g.Scopes)))
	bearer, err := NewBearer(tokens...)
	if err != nil {
		return err
	}
	added := slices.Clone(a.tokens)
	for _, digest := range bearer.digests {
		for i := range a.tokens {
			if t := &a.tokens[i]; t.digest == digest && (t.Name != g.Name || !slices.Equal(t.Scopes, g.Scopes)) {
				return errors.New("has a token that is given with another name or with other scopes too: use different tokens")
			}
		}
		added = append(added, grantedToken{digest, g})
	}
	if len(added) > maxGranted {
		return fmt.Errorf("has too many tokens, want at most %d in all: remove those that nobody uses any more", maxGranted)
	}
	a.tokens = added
	return nil
}

// Open reports whether every request may do everything, without a token.
func (a Access) Open() bool { return a.loopback && len(a.tokens) == 0 }

// Closed reports whether no request may do anything, because there are no tokens and the address is not loopback.
func (a Access) Closed() bool { return !a.loopback && len(a.tokens) == 0 }

// CanChange reports whether anybody may do more than look.
func (a Access) CanChange() bool {
	return a.Open() || slices.ContainsFunc(a.tokens, func(t grantedToken) bool {
		return slices.ContainsFunc(t.Scopes, func(s Scope) bool { return s != View })
	})
}

// Grant returns what the request may do at the time now, and when that ends: zero if it does not. If the request has a header
// Authorization, its cookies do not count.
func (a Access) Grant(r *http.Request, now time.Time) (g Grant, until time.Time) {
	if a.Open() {
		return local, time.Time{}
	}
	if r.Header.Get("Authorization") == "" {
		return a.session(r, now)
	}
	token, ok := bearerToken(r)
	if t := a.find(token); ok && t != nil {
		return t.Grant, time.Time{}
	}
	return Grant{}, time.Time{}
}

// find returns the token, or nil. It takes the same time for every token of a length, right or wrong.
func (a Access) find(token string) *grantedToken {
	digest, found := sha256.Sum256([]byte(token)), -1
	for i := range a.tokens {
		found = subtle.ConstantTimeSelect(subtle.ConstantTimeCompare(digest[:], a.tokens[i].digest[:]), i, found)
	}
	if found < 0 {
		return nil
	}
	return &a.tokens[found]
}

// Check returns nil if g has the scope needed. Otherwise it returns a problem: 401, with the header WWW-Authenticate set in
// h, or 403 if another token would be needed or there is none.
func (a Access) Check(h http.Header, g Grant, needed Scope) *problem.Problem {
	switch {
	case a.Closed():
		return problem.New(http.StatusForbidden, "admin-token-needed",
			"This address can be reached from other machines, so this path needs a token. Start arrakis with ADMIN_TOKEN, or bind OPS_ADDR to 127.0.0.1.")
	case !g.Allows(View):
		return unauthorized(h)
	default:
		return g.Check(needed)
	}
}

type grantKey struct{}

// WithGrant returns a context that carries g, and ends at until if that is not zero: so does an answer that goes on for
// long.
func WithGrant(ctx context.Context, g Grant, until time.Time) (context.Context, context.CancelFunc) {
	ctx = context.WithValue(ctx, grantKey{}, g)
	if until.IsZero() {
		return context.WithCancel(ctx)
	}
	return context.WithDeadline(ctx, until)
}

// GrantOf returns the grant that ctx carries, or one that may do nothing.
func GrantOf(ctx context.Context) Grant {
	g, _ := ctx.Value(grantKey{}).(Grant)
	return g
}
