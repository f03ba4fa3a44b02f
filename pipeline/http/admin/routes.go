package admin

import (
	"net/http"
	"strings"

	"arrakis/pipeline/deadletter"
	"arrakis/pipeline/http/auth"
	"arrakis/pipeline/http/problem"
)

// resource is one path with its methods.
type resource struct {
	get        endpoint          // GET and HEAD, for whoever may look; nil: there is no such method
	changes    map[string]change // by method
	parameters []string          // of the query
}

// change is a method that changes something.
type change struct {
	scopes []auth.Scope // of which a request needs one
	endpoint
}

// The scopes that changes need.
var (
	limits      = []auth.Scope{auth.Limits}
	tiers       = []auth.Scope{auth.Tiers}
	deadLetters = []auth.Scope{auth.DeadLetters}
	all         = []auth.Scope{auth.All}
	// tiersOrLimits is for a change of any member of a document; checkPatch says for which members Limits is enough.
	tiersOrLimits = []auth.Scope{auth.Tiers, auth.Limits}
)

// resources are all resources, by path. What may be done with tenants, accounts, tiers and flags needs the scope tiers, what
// only concerns limits the scope limits.
func (a *api) resources() map[string]resource {
	const put, patch, post, remove = http.MethodPut, http.MethodPatch, http.MethodPost, http.MethodDelete
	type changes = map[string]change
	tenants, accounts, flags := tenants(a.tenants), accounts(a.tenants), flags(a.tenants)
	pages := []string{"limit", "cursor"}
	return map[string]resource{
		"/v1/tenants": {get: list(a.tenantPage), parameters: append(pages, "q")},
		"/v1/tenants/{id}": {get: tenants.serveGet, changes: changes{
			put: {tiers, tenants.servePut}, patch: {tiersOrLimits, tenants.servePatch}, remove: {tiers, tenants.serveDelete},
		}},
		"/v1/tenants/{id}/boost":          {changes: changes{post: {limits, a.boost}, remove: {limits, a.endBoosts}}},
		"/v1/tenants/{id}/explain":        {get: a.explain, parameters: []string{"command", "user"}},
		"/v1/tenants/{id}/usage":          {get: a.usage, changes: changes{remove: {limits, a.reset}}},
		"/v1/tenants/{id}/usage/{action}": {changes: changes{remove: {limits, a.reset}}},
		"/v1/accounts":                    {get: list(a.accountPage), parameters: pages},
		"/v1/accounts/{id}": {get: accounts.serveGet, parameters: []string{"force"}, changes: changes{
			put: {tiers, accounts.servePut}, patch: {tiersOrLimits, a.patchAccount}, remove: {tiers, a.deleteAccount},
		}},
		"/v1/accounts/{id}/communities": {get: a.accountCommunities, parameters: pages},
		"/v1/flags":                     {get: list(a.flagPage), parameters: pages},
		"/v1/flags/{id}":                {get: flags.serveGet, changes: changes{put: {tiers, flags.servePut}, remove: {tiers, flags.serveDelete}}},
		"/v1/audit":                     {get: list(a.auditPage), parameters: append(pages, "target", "type", "since")},
		"/v1/reload":                    {changes: changes{post: {all, a.reload}}, parameters: []string{"community"}},
		"/v1/fleet":                     {get: a.fleet},
		"/v1/deadletters":               {get: list(a.deadLetterPage), parameters: append(pages, "stream", "reason", "community", "order")},
		"/v1/deadletters/{seq}":         {get: a.deadLetter, changes: changes{remove: {deadLetters, a.deleteDeadLetter}}},
		"/v1/deadletters/{seq}/replay":  {changes: changes{post: {deadLetters, a.replay}}},
		"/v1/deadletters/replay":        {changes: changes{post: {deadLetters, a.bulk(deadletter.ActionReplay)}}},
		"/v1/deadletters/purge":         {changes: changes{post: {deadLetters, a.bulk(deadletter.ActionPurge)}}},
	}
}

// mux routes by path alone. The handlers check the method, because a ServeMux would not answer with a problem.
func (a *api) mux() http.Handler {
	mux := http.NewServeMux()
	for path, res := range a.resources() {
		mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
			e, scopes := res.of(r.Method)
			if e == nil {
				a.refuse(w, r, problem.MethodNotAllowed(w.Header(), r, res.allow()))
				return
			}
			if p := auth.GrantOf(r.Context()).Check(scopes...); p != nil {
				a.refuse(w, r, p)
				return
			}
			a.serve(w, r, func(w http.ResponseWriter, r *http.Request) (answer, error) {
				if err := checkQuery(r, res.parameters); err != nil {
					return answer{}, err
				}
				return e(w, r)
			})
		})
	}
	mux.HandleFunc("/v1/stream", a.stream)
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) { a.refuse(w, r, problem.NotFound(r)) })
	return mux
}

// of returns the endpoint of a method, and the scopes of which it needs one. Without such a method it returns nil.
func (res *resource) of(method string) (endpoint, []auth.Scope) {
	if method == http.MethodGet || method == http.MethodHead {
		return res.get, []auth.Scope{auth.View}
	}
	c := res.changes[method]
	return c.endpoint, c.scopes
}

// allow lists the methods for the header Allow, in a fixed order.
func (res *resource) allow() string {
	var names []string
	if res.get != nil {
		names = append(names, http.MethodGet, http.MethodHead)
	}
	for _, m := range []string{http.MethodPut, http.MethodPatch, http.MethodPost, http.MethodDelete} {
		if _, ok := res.changes[m]; ok {
			names = append(names, m)
		}
	}
	return strings.Join(names, ", ")
}
