package admin

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"arrakis/pipeline/http/auth"
	"arrakis/pipeline/http/body"
	"arrakis/pipeline/view"
	"arrakis/tenant"
	"arrakis/tenant/store"
)

// collection is a kind of documents with IDs: tenants, accounts or feature flags.
type collection[T any] struct {
	get    func(ctx context.Context, id string) (T, store.Version, error)
	parse  func(id string, body []byte) (T, error)
	put    func(ctx context.Context, id string, document T, o store.PutOptions) (T, store.Version, error)
	remove func(ctx context.Context, id string, ifMatch store.Version) error
	view   func(T) *T
	// update and merge are for PATCH; nil where there is none.
	update func(ctx context.Context, id string, edit func(*T) error) (T, store.Version, error)
	merge  func(document *T, patch []byte) error
}

func tenants(s *store.Store) collection[tenant.Config] {
	return collection[tenant.Config]{
		get: s.Get, put: s.Put, remove: s.Delete, view: view.Tenant, update: s.Update, merge: (*tenant.Config).Merge,
		parse: func(_ string, body []byte) (tenant.Config, error) { return tenant.ParseConfig(body) },
	}
}

func flags(s *store.Store) collection[tenant.Flag] {
	return collection[tenant.Flag]{
		get: s.GetFlag, parse: parseFlag, remove: s.DeleteFlag, view: view.Flag,
		put: func(ctx context.Context, _ string, f tenant.Flag, o store.PutOptions) (tenant.Flag, store.Version, error) {
			return s.PutFlag(ctx, f, o)
		},
	}
}

func (c collection[T]) serveGet(_ http.ResponseWriter, r *http.Request) (answer, error) {
	document, v, err := c.get(r.Context(), r.PathValue("id"))
	return answer{body: c.view(document), etag: v}, err
}

func (c collection[T]) servePut(w http.ResponseWriter, r *http.Request) (answer, error) {
	ctx, id := r.Context(), r.PathValue("id")
	data, err := readBody(w, r, body.JSON)
	if err != nil {
		return answer{}, err
	}
	document, err := c.parse(id, data)
	if err != nil {
		return answer{}, err
	}
	given, err := parseConditions(r)
	if err != nil {
		return answer{}, err
	}
	_, v, err := c.get(ctx, id)
	was, err := storedVersion(v, err)
	if err != nil {
		return answer{}, err
	}
	options, err := given.options(was)
	if err != nil {
		return answer{}, err
	}
	stored, v, err := c.put(ctx, id, document, options)
	status := http.StatusOK
	if was == "" {
		status = http.StatusCreated
	}
	return answer{status: status, body: c.view(stored), etag: v}, err
}

func (c collection[T]) serveDelete(_ http.ResponseWriter, r *http.Request) (answer, error) {
	ctx, id := r.Context(), r.PathValue("id")
	if err := noConditions(r, "If-None-Match"); err != nil {
		return answer{}, err
	}
	given, err := parseConditions(r)
	if err != nil {
		return answer{}, err
	}
	ifMatch := given.version
	if given.exists {
		_, v, err := c.get(ctx, id)
		if ifMatch, err = storedVersion(v, err); err != nil {
			return answer{}, err
		}
		if ifMatch == "" {
			return answer{}, store.ErrConflict
		}
	}
	return answer{}, c.remove(ctx, id, ifMatch)
}

// servePatch applies a JSON merge patch.
func (c collection[T]) servePatch(w http.ResponseWriter, r *http.Request) (answer, error) {
	if err := noConditions(r, "If-None-Match"); err != nil {
		return answer{}, err
	}
	patch, err := readBody(w, r, patchType, body.JSON)
	if err != nil {
		return answer{}, err
	}
	if err := checkPatch(r, patch); err != nil {
		return answer{}, err
	}
	given, err := parseConditions(r)
	if err != nil {
		return answer{}, err
	}
	var stored T
	var v store.Version
	if given == (conditions{}) {
		stored, v, err = c.update(r.Context(), r.PathValue("id"), func(document *T) error { return c.merge(document, patch) })
	} else {
		stored, v, err = c.patchVersion(r, patch, given)
	}
	return answer{body: c.view(stored), etag: v}, err
}

// limitMembers are the members of a tenant or an account that the scope limits may change.
var limitMembers = []string{"rateLimits", "onLimit", "maxDelayed", "mode", "weight", "boosts"}

// checkPatch refuses a patch of other members than limitMembers, unless the scope tiers is given.
func checkPatch(r *http.Request, patch []byte) error {
	grant := auth.GrantOf(r.Context())
	if grant.Allows(auth.Tiers) {
		return nil
	}
	var members map[string]jsontext.Value
	if err := json.Unmarshal(patch, &members); err != nil {
		return fault("body", "must be a JSON object")
	}
	for name := range members {
		if !slices.Contains(limitMembers, name) {
			return &problemError{grant.Check(auth.Tiers).About(fmt.Sprintf("%.64s", name))}
		}
	}
	return nil
}

// patchVersion applies the patch to a document that meets the conditions of the request. The write fails if the document
// has changed since it was read.
func (c collection[T]) patchVersion(r *http.Request, patch []byte, given conditions) (T, store.Version, error) {
	ctx, id := r.Context(), r.PathValue("id")
	var none T
	document, v, err := c.get(ctx, id)
	if errors.Is(err, store.ErrNotFound) {
		err = store.ErrConflict
	}
	if err != nil {
		return none, "", err
	}
	options, err := given.options(v)
	if err != nil {
		return none, "", err
	}
	if err := c.merge(&document, patch); err != nil {
		return none, "", err
	}
	return c.put(ctx, id, document, options)
}

// parseFlag reads a flag. The flag's id may be left out; if given, it must be the ID in the path.
func parseFlag(id string, body []byte) (tenant.Flag, error) {
	if !tenant.ValidFlagID(id) {
		return tenant.Flag{}, fault("flag", "%.64q must be 1 to 128 letters, digits, '_', '.' or '-'", id)
	}
	flag, err := tenant.ParseFlag(withID(body, id))
	if err == nil && flag.ID != id {
		err = fault("id", "is %q, but the path names %q; leave it out or make them the same", flag.ID, id)
	}
	return flag, err
}

// withID adds the member id in front of the members of an object without one. Any other text is returned unchanged, and
// the parser refuses it. An ID holds no character that must be escaped.
func withID(body []byte, id string) []byte {
	var named struct {
		ID jsontext.Value `json:"id"`
	}
	err := json.Unmarshal(body, &named, jsontext.AllowDuplicateNames(true))
	if err != nil || named.ID != nil || jsontext.Value(body).Kind() != '{' {
		return body
	}
	_, members, _ := bytes.Cut(body, []byte("{"))
	comma := ","
	if bytes.TrimSpace(members)[0] == '}' {
		comma = ""
	}
	return fmt.Appendf(nil, `{"id":"%s"%s%s`, id, comma, members)
}
