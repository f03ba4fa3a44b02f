package admin

import (
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"arrakis/pipeline/http/auth"
	"arrakis/pipeline/http/openapi"
)

// scopesOf are the scopes of which each change needs one. It is written down twice, here and in resources, so that nobody
// gives a scope more by mistake.
var scopesOf = map[string][]auth.Scope{
	"PUT /v1/tenants/{id}":                   {auth.Tiers},
	"PATCH /v1/tenants/{id}":                 {auth.Tiers, auth.Limits}, // limits by the members; see TestPatchByMembers
	"DELETE /v1/tenants/{id}":                {auth.Tiers},
	"PUT /v1/accounts/{id}":                  {auth.Tiers},
	"PATCH /v1/accounts/{id}":                {auth.Tiers, auth.Limits}, // as of a tenant
	"DELETE /v1/accounts/{id}":               {auth.Tiers},
	"POST /v1/tenants/{id}/boost":            {auth.Limits},
	"DELETE /v1/tenants/{id}/boost":          {auth.Limits},
	"DELETE /v1/tenants/{id}/usage":          {auth.Limits},
	"DELETE /v1/tenants/{id}/usage/{action}": {auth.Limits},
	"PUT /v1/flags/{id}":                     {auth.Tiers},
	"DELETE /v1/flags/{id}":                  {auth.Tiers},
	"POST /v1/reload":                        {auth.All},
	"DELETE /v1/deadletters/{seq}":           {auth.DeadLetters},
	"POST /v1/deadletters/{seq}/replay":      {auth.DeadLetters},
	"POST /v1/deadletters/replay":            {auth.DeadLetters},
	"POST /v1/deadletters/purge":             {auth.DeadLetters},
}

// Each change of each resource says which scope it needs.
func TestEveryChangeNeedsAScope(t *testing.T) {
	t.Parallel()
	seen := 0
	for path, res := range (&api{}).resources() {
		for method, c := range res.changes {
			seen++
			if !slices.Equal(c.scopes, scopesOf[method+" "+path]) || len(c.scopes) == 0 || slices.Contains(c.scopes, auth.View) {
				t.Errorf("%s %s needs one of %q, want %q: is it new? Write it down here too", method, path, c.scopes, scopesOf[method+" "+path])
			}
			if c.endpoint == nil || method == http.MethodGet || method == http.MethodHead {
				t.Errorf("%s %s is no change", method, path)
			}
		}
	}
	if seen != len(scopesOf) {
		t.Errorf("%d changes, want %d", seen, len(scopesOf))
	}
}

// The description of the API says the same.
func TestScopesAreDescribed(t *testing.T) {
	t.Parallel()
	w := httptest.NewRecorder()
	openapi.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, openapi.Path, http.NoBody))
	var document struct {
		Paths map[string]map[string]jsontext.Value
	}
	if err := json.Unmarshal(w.Body.Bytes(), &document, json.MatchCaseInsensitiveNames(true)); err != nil {
		t.Fatal(err)
	}
	for name, want := range scopesOf {
		method, path, _ := strings.Cut(name, " ")
		var operation struct {
			Security []map[string][]auth.Scope `json:"security"`
		}
		if err := json.Unmarshal(document.Paths[path][strings.ToLower(method)], &operation); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		for _, by := range []string{"adminToken", "session"} {
			var got []auth.Scope
			for _, way := range operation.Security {
				got = append(got, way[by]...)
			}
			if !slices.Equal(got, want) {
				t.Errorf("%s by %s needs one of %q, and openapi.json says %q", name, by, want, got)
			}
		}
	}
}

// Every method of every path is asked for with a token of each scope: the scopes that are not enough are refused with the
// names of the scope and of the token, and change nothing.
func TestScopesOnEveryRoute(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	b.do(t, http.MethodPut, "/v1/accounts/a", `{"tier":"pro"}`).want(t, http.StatusCreated) // to make it is another matter
	fill := strings.NewReplacer("{id}", "a", "{action}", "command", "{seq}", "1")
	for path, res := range (&api{}).resources() {
		for _, method := range strings.Split(res.allow(), ", ") {
			enough := scopesOf[method+" "+path]
			for _, given := range auth.Scopes {
				r := b.do(t, method, fill.Replace(path), "{}", "Authorization", "Bearer "+tokenOf(given))
				refused := r.status == http.StatusForbidden && strings.Contains(r.body, "scope-needed")
				allowed := enough == nil || given == auth.All || slices.Contains(enough, given)
				if refused == allowed || !allowed && !strings.Contains(r.body, `needs the scope `+string(enough[0])) || !allowed && !strings.Contains(r.body, `\"only-`+string(given)+`\"`) {
					t.Errorf("%s %s with the scope %s: %d %s", method, path, given, r.status, r.body)
				}
				if method == http.MethodHead && r.status >= 500 || r.status == http.StatusUnauthorized || r.status == http.StatusMethodNotAllowed {
					t.Errorf("%s %s with the scope %s: %d %s", method, path, given, r.status, r.body)
				}
			}
		}
		for _, method := range []string{http.MethodOptions, http.MethodTrace, "get", "QUERY"} {
			if r := b.do(t, method, fill.Replace(path), "", "Authorization", "Bearer "+tokenOf(auth.View)); r.status != http.StatusMethodNotAllowed {
				t.Errorf("%s %s: %d %s", method, path, r.status, r.body)
			}
		}
	}
	entries, _ := b.audit(t, "?limit=1000")
	for _, e := range entries {
		if e.Actor == "api:only-view" || e.Actor == "api:only-limits" && e.Type != "tenant" && e.Type != "account" && e.Type != "reset" {
			t.Errorf("%s has changed %s %s", e.Actor, e.Type, e.Target)
		}
	}
}

// The scope limits may change those members of a tenant that are about its limits, and no other.
func TestPatchByMembers(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	b.do(t, http.MethodPut, "/v1/tenants/a", `{"tier":"pro"}`).want(t, http.StatusCreated)
	for patch, status := range map[string]int{
		`{}`: 200,
		`{"rateLimits":{"commandsPerMinute":7},"onLimit":"delay","maxDelayed":5,"mode":"shadow","weight":2,"boosts":null}`: 200,
		`{"rateLimits":null}`:                     200,
		`{"tier":"enterprise"}`:                   403,
		`{"tierFrom":"entitlement"}`:              403,
		`{"mode":"shadow","tier":"enterprise"}`:   403,
		`{"features":{"customBranding":true}}`:    403,
		`{"communityId":"b"}`:                     403,
		`{"guildId":"b"}`:                         403,
		`{"account":"acme"}`:                      403,
		`{"texts":{}}`:                            403,
		`{"entitlements":{}}`:                     403,
		`{"createdAt":"2020-01-01T00:00:00Z"}`:    403,
		`{"Tier":"enterprise"}`:                   403, // unknown, whoever asks
		`{"mode":"shadow","\u0074ier":"free"}`:    403,
		`{"mode":"shadow","mode":"enforce"}`:      400,
		`{"tier":"enterprise","tier":"free"}`:     400,
		`null`:                                    400,
		`[{"tier":"enterprise"}]`:                 400,
		`"tier"`:                                  400,
		`{"mode":"shadow"} {"tier":"enterprise"}`: 400,
		``: 400,
	} {
		r := b.do(t, http.MethodPatch, "/v1/tenants/a", patch, "Authorization", "Bearer "+tokenOf(auth.Limits))
		if r.status != status {
			t.Errorf("%s: %d %s", patch, r.status, r.body)
		}
		if status == http.StatusForbidden && !strings.Contains(r.body, "needs the scope tiers; ") {
			t.Errorf("%s: %s", patch, r.body)
		}
	}
	r := b.do(t, http.MethodGet, "/v1/tenants/a", "", "Authorization", "Bearer "+tokenOf(auth.Limits)).want(t, 200)
	if !strings.Contains(r.body, `"tier":"pro"`) || strings.Contains(r.body, "customBranding") {
		t.Errorf("the tenant: %s", r.body)
	}
	for _, s := range []auth.Scope{auth.Tiers, auth.All} {
		b.do(t, http.MethodPatch, "/v1/tenants/a", `{"tier":"free","mode":"enforce"}`, "Authorization", "Bearer "+tokenOf(s)).want(t, 200)
	}
}

// An account says the tier of communities that may name it already: so the scope limits, which may change its limits, cannot
// make one.
func TestPatchMakesNoAccount(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	const path, patch = "/v1/accounts/acme", `{"weight":2}`
	limits := []string{"Authorization", "Bearer " + tokenOf(auth.Limits)}
	if r := b.do(t, http.MethodPatch, path, patch, limits...).want(t, http.StatusForbidden); !strings.Contains(r.body, "needs the scope tiers; ") {
		t.Errorf("%s", r.body)
	}
	b.do(t, http.MethodGet, path, "").want(t, http.StatusNotFound)
	b.do(t, http.MethodPatch, path, patch, "Authorization", "Bearer "+tokenOf(auth.Tiers)).want(t, http.StatusOK)
	b.do(t, http.MethodPatch, path, patch, limits...).want(t, http.StatusOK)
}
