package admin

import (
	"context"
	"errors"
	"net/http"
	"net/url"

	"arrakis/pipeline/http/auth"
	"arrakis/pipeline/view"
	"arrakis/tenant"
	"arrakis/tenant/store"
)

func accounts(s *store.Store) collection[tenant.Account] {
	return collection[tenant.Account]{
		get: s.GetAccount, put: s.PutAccount, view: view.Account, update: s.UpdateAccount, merge: (*tenant.Account).Merge,
		parse: func(_ string, body []byte) (tenant.Account, error) { return tenant.ParseAccount(body) },
		remove: func(ctx context.Context, id string, ifMatch store.Version) error {
			return s.DeleteAccount(ctx, id, ifMatch)
		},
	}
}

// patchAccount applies a JSON merge patch. To make an account the scope tiers is needed: it says the tier of communities
// that may be in it already, because their configs name it.
func (a *api) patchAccount(w http.ResponseWriter, r *http.Request) (answer, error) {
	documents := accounts(a.tenants)
	if missing := auth.GrantOf(r.Context()).Check(auth.Tiers); missing != nil {
		update := documents.update
		documents.update = func(ctx context.Context, id string, edit func(*tenant.Account) error) (tenant.Account, store.Version, error) {
			if _, _, err := documents.get(ctx, id); errors.Is(err, store.ErrNotFound) {
				return tenant.Account{}, "", &problemError{missing}
			}
			return update(ctx, id, edit)
		}
	}
	return documents.servePatch(w, r)
}

// deleteAccount deletes an account, with force=true also while communities are in it.
func (a *api) deleteAccount(w http.ResponseWriter, r *http.Request) (answer, error) {
	documents := accounts(a.tenants)
	switch q := r.URL.Query(); q.Get("force") {
	case "true":
		documents.remove = func(ctx context.Context, id string, ifMatch store.Version) error {
			return a.tenants.DeleteAccount(ctx, id, ifMatch, store.EvenIfUsed)
		}
	case "", "false":
	default:
		return answer{}, fault("force", "must be true or false")
	}
	return documents.serveDelete(w, r)
}

func (a *api) accountPage(ctx context.Context, q url.Values, limit int) (any, string, error) {
	page, err := a.tenants.ListAccounts(ctx, store.ListOptions{Cursor: q.Get("cursor"), Limit: limit})
	return view.NewAccounts(page.Entries, page.Cursor), page.Cursor, err
}

// accountCommunities lists the tenants that are in an account.
func (a *api) accountCommunities(w http.ResponseWriter, r *http.Request) (answer, error) {
	return list(func(ctx context.Context, q url.Values, limit int) (any, string, error) {
		page, err := a.tenants.AccountCommunities(ctx, r.PathValue("id"), store.ListOptions{Cursor: q.Get("cursor"), Limit: limit})
		return view.NewTenants(page.Entries, page.Cursor), page.Cursor, err
	})(w, r)
}
