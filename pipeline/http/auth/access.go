package auth

import (
	"context"
	"errors"
	"net/http"
	"time"

	"arrakis/pipeline/http/problem"
)

// Role is what a request may do on the ops address. A higher role may do all that a lower one may.
type Role int

// The roles.
const (
	None  Role = iota // may not even look
	View              // may look: send GET and HEAD
	Admin             // may do everything
)

// String is the role's name, as sessions have it.
func (r Role) String() string {
	switch r {
	case View:
		return "view"
	case Admin:
		return "admin"
	default:
		return "none"
	}
}

// Needed is the role that a request needs where looking is enough for requests that only read. A method that is not
// known to only read needs Admin.
func Needed(r *http.Request) Role {
	if r.Method == http.MethodGet || r.Method == http.MethodHead {
		return View
	}
	return Admin
}

// Access gives requests their roles. The zero value gives every request None. It is safe for concurrent use.
type Access struct {
	admin, view Bearer
	open        bool // every request is Admin
}

// NewAccess makes an Access: a token of admin gives Admin, one of view gives View. If there are no tokens at all, every
// request on a loopback address is Admin, because whoever can send it has an account on this machine, and no request on
// another address is. The error says that a token is in both.
func NewAccess(admin, view Bearer, loopback bool) (Access, error) {
	for _, digest := range view.digests {
		for i := range admin.digests {
			if digest == admin.digests[i] {
				return Access{}, errors.New("has a token that is an admin token too, so it would not be view-only: use different tokens")
			}
		}
	}
	return Access{admin: admin, view: view, open: loopback && !admin.Required() && !view.Required()}, nil
}

// Open reports whether every request is Admin, without a token.
func (a Access) Open() bool { return a.open }

// Closed reports whether no request can have a role, because there are no tokens and the address is not loopback.
func (a Access) Closed() bool { return !a.open && !a.admin.Required() && !a.view.Required() }

// Grant is the role of a request. It ends at Until, which is zero for a role that does not end.
type Grant struct {
	Role  Role
	Until time.Time
}

// Grant returns what the request may do at the time now. If it has a header Authorization, its cookies do not count.
func (a Access) Grant(r *http.Request, now time.Time) Grant {
	if a.open {
		return Grant{Role: Admin}
	}
	if r.Header.Get("Authorization") == "" {
		return a.session(r, now)
	}
	token, ok := bearerToken(r)
	isAdmin, isView := a.admin.find(token) >= 0, a.view.find(token) >= 0 // both, so that the time says nothing
	switch {
	case ok && isAdmin:
		return Grant{Role: Admin}
	case ok && isView:
		return Grant{Role: View}
	default:
		return Grant{}
	}
}

// Check returns nil if g is at least needed. Otherwise it returns a problem: 401, with the header WWW-Authenticate set
// in h, or 403 if another token would be needed or there is none.
func (a Access) Check(h http.Header, g Grant, needed Role) *problem.Problem {
	switch {
	case g.Role >= needed:
		return nil
	case a.Closed():
		return problem.New(http.StatusForbidden, "admin-token-needed",
			"This address can be reached from other machines, so this path needs a token. Start arrakis with ADMIN_TOKEN, or bind OPS_ADDR to 127.0.0.1.")
	case g.Role == None:
		return unauthorized(h)
	default:
		return problem.New(http.StatusForbidden, "view-only",
			"The token or session may only look: it was made with VIEW_TOKEN. For this, use a token of ADMIN_TOKEN.")
	}
}

type grantKey struct{}

// WithGrant returns a context that carries g. It ends when g does: so does an answer that goes on for long.
func WithGrant(ctx context.Context, g Grant) (context.Context, context.CancelFunc) {
	ctx = context.WithValue(ctx, grantKey{}, g)
	if g.Until.IsZero() {
		return context.WithCancel(ctx)
	}
	return context.WithDeadline(ctx, g.Until)
}

// RoleOf returns the role that ctx carries, or None.
func RoleOf(ctx context.Context) Role {
	g, _ := ctx.Value(grantKey{}).(Grant)
	return g.Role
}
