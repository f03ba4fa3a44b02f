package admin

import (
	"cmp"
	"context"
	"encoding/base64"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"arrakis/pipeline/view"
	"arrakis/tenant"
	"arrakis/tenant/store"
)

// maxSearch is the length of the longest ID of a tenant, and so of a text that can be found in one.
const maxSearch = 128

// list makes the endpoint of a list. page reads the document of one page, and next, the cursor of the next page; next
// is "" on the last page.
func list(page func(ctx context.Context, q url.Values, limit int) (document any, next string, err error)) endpoint {
	return func(_ http.ResponseWriter, r *http.Request) (answer, error) {
		q, limit := r.URL.Query(), 100
		if q.Has("limit") {
			var err error
			limit, err = strconv.Atoi(q.Get("limit"))
			if err != nil || limit < 1 || limit > store.MaxListLimit {
				return answer{}, fault("limit", "must be a whole number from 1 to %d", store.MaxListLimit)
			}
		}
		document, next, err := page(r.Context(), q, limit)
		if err != nil || next == "" {
			return answer{body: document}, err
		}
		q.Set("cursor", next)
		return answer{body: document, next: r.URL.Path + "?" + q.Encode()}, nil
	}
}

// tenantPage lists the tenants as Redis returns them, or with q searches the directory.
func (a *api) tenantPage(ctx context.Context, q url.Values, limit int) (any, string, error) {
	if q.Has("q") {
		return a.foundTenants(ctx, q, limit)
	}
	page, err := a.tenants.List(ctx, store.ListOptions{Cursor: q.Get("cursor"), Limit: limit})
	return view.NewTenants(page.Entries, page.Cursor), page.Cursor, err
}

// foundTenants is a page of the tenants whose ID contains q. The cursor is the ID of the last one on the page.
func (a *api) foundTenants(ctx context.Context, q url.Values, limit int) (any, string, error) {
	if len(q.Get("q")) > maxSearch {
		return nil, "", fault("q", "is longer than %d characters, which no ID is", maxSearch)
	}
	after, err := base64.RawURLEncoding.DecodeString(q.Get("cursor"))
	if err != nil || len(after) > 0 && !tenant.ValidID(string(after)) {
		return nil, "", store.ErrCursor
	}
	page, err := a.directory.Search(ctx, q.Get("q"), string(after), limit)
	next := base64.RawURLEncoding.EncodeToString([]byte(page.After))
	return view.NewFoundTenants(page, next), next, err
}

// auditPage is a page of the audit log, the newest entry first.
func (a *api) auditPage(ctx context.Context, q url.Values, limit int) (any, string, error) {
	since, err := view.ParseSince(q.Get("since"), time.Now())
	if err != nil {
		return nil, "", err
	}
	asked := store.AuditQuery{Type: store.AuditType(q.Get("type")), Since: since, Cursor: q.Get("cursor"), Limit: limit}
	if q.Has("target") {
		asked.Targets = []string{q.Get("target")}
	}
	page, err := a.tenants.Audit(ctx, asked)
	return view.NewAudit(page), page.Cursor, err
}

// flagPage reads all flags, at most a thousand, and returns one page of them. The cursor is the ID of the last flag on
// the page.
func (a *api) flagPage(ctx context.Context, q url.Values, limit int) (any, string, error) {
	after, err := base64.RawURLEncoding.DecodeString(q.Get("cursor"))
	if err != nil || len(after) > 0 && !tenant.ValidFlagID(string(after)) {
		return nil, "", store.ErrCursor
	}
	entries, err := a.tenants.ListFlags(ctx)
	if err != nil {
		return nil, "", err
	}
	first, found := slices.BinarySearchFunc(entries, string(after), func(e store.FlagEntry, id string) int { return cmp.Compare(e.ID, id) })
	if found {
		first++
	}
	entries = entries[first:]
	next := ""
	if len(entries) > limit {
		entries = entries[:limit]
		next = base64.RawURLEncoding.EncodeToString([]byte(entries[limit-1].ID))
	}
	return view.NewFlags(entries, next), next, nil
}
