package admin

import (
	"errors"
	"net/http"

	"arrakis/tenant"
	"arrakis/tenant/store"
)

// shown is a config as the API gives it: without the members of other writers,
// which could not be put back.
func shown(c tenant.Config) *tenant.Config {
	c.Unknown, c.Features.Unknown, c.RateLimits.Unknown = nil, nil, nil
	return &c
}

func (a *api) getTenant(_ http.ResponseWriter, r *http.Request) (answer, error) {
	if _, err := query(r); err != nil {
		return answer{}, err
	}
	c, v, err := a.tenants.Get(r.Context(), r.PathValue("id"))
	if err != nil {
		return answer{}, err
	}
	return answer{body: shown(c), etag: v}, nil
}

func (a *api) putTenant(w http.ResponseWriter, r *http.Request) (answer, error) {
	ctx, id := r.Context(), r.PathValue("id")
	if _, err := query(r); err != nil {
		return answer{}, err
	}
	body, err := readBody(w, r, jsonType)
	if err != nil {
		return answer{}, err
	}
	config, err := tenant.ParseConfig(body)
	if err != nil {
		return answer{}, err
	}
	given, err := parseConditions(r)
	if err != nil {
		return answer{}, err
	}
	_, v, err := a.tenants.Get(ctx, id)
	was, err := storedVersion(v, err)
	if err != nil {
		return answer{}, err
	}
	options, err := given.options(was)
	if err != nil {
		return answer{}, err
	}
	stored, v, err := a.tenants.Put(ctx, id, config, options)
	if err != nil {
		return answer{}, err
	}
	return answer{status: createdIf(was == ""), body: shown(stored), etag: v}, nil
}

// createdIf is the status of a PUT.
func createdIf(created bool) int {
	if created {
		return http.StatusCreated
	}
	return http.StatusOK
}

func (a *api) patchTenant(w http.ResponseWriter, r *http.Request) (answer, error) {
	if _, err := query(r); err != nil {
		return answer{}, err
	}
	if err := noConditions(r, "If-None-Match"); err != nil {
		return answer{}, err
	}
	patch, err := readBody(w, r, patchType, jsonType)
	if err != nil {
		return answer{}, err
	}
	given, err := parseConditions(r)
	if err != nil {
		return answer{}, err
	}
	var stored tenant.Config
	var v store.Version
	if given == (conditions{}) {
		stored, v, err = a.tenants.Update(r.Context(), r.PathValue("id"), func(c *tenant.Config) error { return c.Merge(patch) })
	} else {
		stored, v, err = a.patchVersion(r, patch, given)
	}
	if err != nil {
		return answer{}, err
	}
	return answer{body: shown(stored), etag: v}, nil
}

// patchVersion changes a config if it is the one that is given, which the
// write itself makes sure of.
func (a *api) patchVersion(r *http.Request, patch []byte, given conditions) (tenant.Config, store.Version, error) {
	config, v, err := a.tenants.Get(r.Context(), r.PathValue("id"))
	if errors.Is(err, store.ErrNotFound) {
		err = store.ErrConflict
	}
	if err != nil {
		return tenant.Config{}, "", err
	}
	options, err := given.options(v)
	if err != nil {
		return tenant.Config{}, "", err
	}
	if err := config.Merge(patch); err != nil {
		return tenant.Config{}, "", err
	}
	return a.tenants.Put(r.Context(), r.PathValue("id"), config, options)
}

func (a *api) deleteTenant(_ http.ResponseWriter, r *http.Request) (answer, error) {
	if _, err := query(r); err != nil {
		return answer{}, err
	}
	ifMatch, err := versionToDelete(r, a.tenants.Get)
	if err != nil {
		return answer{}, err
	}
	return answer{}, a.tenants.Delete(r.Context(), r.PathValue("id"), ifMatch)
}

// listedTenant is one tenant of a list: its config, with what it is stored
// under.
type listedTenant struct {
	ID   string `json:"id"`
	ETag string `json:"etag"`
	*tenant.Config
	Error string `json:"error,omitempty"` // why the document cannot be used, instead of a config
}

func (a *api) listTenants(_ http.ResponseWriter, r *http.Request) (answer, error) {
	q, err := query(r, "limit", "cursor")
	if err != nil {
		return answer{}, err
	}
	limit, err := pageLimit(q)
	if err != nil {
		return answer{}, err
	}
	page, err := a.tenants.List(r.Context(), store.ListOptions{Cursor: q.Get("cursor"), Limit: limit})
	if err != nil {
		return answer{}, err
	}
	listed := make([]listedTenant, len(page.Entries))
	for i, e := range page.Entries {
		listed[i] = listedTenant{ID: e.ID, ETag: entityTag(e.Version)}
		if e.Err != nil {
			listed[i].Error = e.Err.Error()
		} else {
			listed[i].Config = shown(e.Config)
		}
	}
	body := struct {
		Tenants []listedTenant `json:"tenants"`
		Next    string         `json:"next,omitempty"`
	}{listed, page.Cursor}
	return answer{body: body, next: nextPage(r, q, page.Cursor)}, nil
}
