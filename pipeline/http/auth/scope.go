package auth

import (
	"cmp"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"arrakis/pipeline/http/problem"
)

// Scope is a part of what can be done on the ops address.
type Scope string

// The scopes. Whoever has any of them has View too.
const (
	View        Scope = "view"        // look: GET and HEAD
	Limits      Scope = "limits"      // tune and reset the limits of a tenant
	Tiers       Scope = "tiers"       // change tenants, accounts, tiers and flags
	DeadLetters Scope = "deadletters" // replay and delete dead letters
	All         Scope = "all"         // everything, also what no other scope is for: reloads, profiles
)

// Scopes are all scopes.
var Scopes = []Scope{View, Limits, Tiers, DeadLetters, All}

// Grant is what a request may do, and by whose token. The zero value may do nothing.
type Grant struct {
	Name   string // of the token
	Scopes []Scope
}

// The grants of tokens without a name of their own.
var (
	Admin  = Grant{Name: "admin", Scopes: []Scope{All}}
	Viewer = Grant{Name: "view", Scopes: []Scope{View}}
	local  = Grant{Name: "local", Scopes: []Scope{All}} // no token was needed
)

// Allows reports whether the scope needed is given.
func (g Grant) Allows(needed Scope) bool {
	return needed == View && len(g.Scopes) > 0 || slices.Contains(g.Scopes, needed) || slices.Contains(g.Scopes, All)
}

// Check returns nil if one of the scopes is given, each of which is enough, and else a problem: 403, with the scope and
// the token's name.
func (g Grant) Check(enough ...Scope) *problem.Problem {
	if slices.ContainsFunc(enough, g.Allows) {
		return nil
	}
	return problem.New(http.StatusForbidden, "scope-needed",
		"This needs the scope %s; the token %q has %s. Use a token that has the scope: ADMIN_TOKENS gives scopes, ADMIN_TOKEN all of them.",
		join(enough, " or "), g.Name, cmp.Or(join(g.Scopes, ", "), "none"))
}

func join(scopes []Scope, separator string) string {
	names := make([]string, len(scopes))
	for i, s := range scopes {
		names[i] = string(s)
	}
	return strings.Join(names, separator)
}

// validate reports a name or a scope that cannot be used. The error has no text of the grant, which may be a token in the
// wrong place.
func (g Grant) validate() error {
	if g.Name == "" || len(g.Name) > maxName || strings.Trim(g.Name, "abcdefghijklmnopqrstuvwxyz0123456789_.-") != "" {
		return fmt.Errorf("has a name that is not 1 to %d lower-case letters, digits, '_', '.' or '-'", maxName)
	}
	if len(g.Scopes) == 0 || slices.ContainsFunc(g.Scopes, func(s Scope) bool { return !slices.Contains(Scopes, s) }) {
		return fmt.Errorf("has a scope that is unknown; known are %s", join(Scopes, ", "))
	}
	for _, own := range []Grant{Admin, Viewer, local} { // else the audit log would have two of the name, who may do different things
		if g.Name == own.Name && !slices.Equal(g.Scopes, own.Scopes) {
			return fmt.Errorf("has the name %s, which is that of tokens with the scope %s: give it another", own.Name, join(own.Scopes, ", "))
		}
	}
	return nil
}

// maxName is how many bytes the name of a token has at most.
const maxName = 32
