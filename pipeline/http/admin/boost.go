package admin

import (
	"net/http"

	"arrakis/pipeline/http/body"
	"arrakis/pipeline/view"
	"arrakis/tenant"
	"arrakis/tenant/store"
)

// boost raises limits for a time.
func (a *api) boost(w http.ResponseWriter, r *http.Request) (answer, error) {
	data, err := readBody(w, r, body.JSON)
	if err != nil {
		return answer{}, err
	}
	asked, err := tenant.ParseBoostRequest(data)
	if err != nil {
		return answer{}, err
	}
	options, err := a.boostOptions(r)
	if err != nil {
		return answer{}, err
	}
	stored, v, err := a.tenants.Boost(r.Context(), r.PathValue("id"), asked, options)
	return answer{body: view.Tenant(stored), etag: v}, err
}

func (a *api) endBoosts(_ http.ResponseWriter, r *http.Request) (answer, error) {
	options, err := a.boostOptions(r)
	if err != nil {
		return answer{}, err
	}
	stored, v, err := a.tenants.EndBoosts(r.Context(), r.PathValue("id"), options)
	return answer{body: view.Tenant(stored), etag: v}, err
}

// boostOptions are the conditions of a request. They are on the tenant's config, of which the boosts are a part.
func (a *api) boostOptions(r *http.Request) (store.PutOptions, error) {
	if err := noConditions(r, "If-None-Match"); err != nil {
		return store.PutOptions{}, err
	}
	given, err := parseConditions(r)
	if err != nil || !given.exists {
		return store.PutOptions{IfMatch: given.version}, err
	}
	_, v, err := a.tenants.Get(r.Context(), r.PathValue("id"))
	was, err := storedVersion(v, err)
	if err != nil {
		return store.PutOptions{}, err
	}
	return given.options(was)
}
