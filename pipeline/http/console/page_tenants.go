package console

import (
	"fmt"
	"net/http"
	"net/url"
	"time"

	"arrakis/tenant"
	"arrakis/tenant/store"
)

const (
	// shownTenants is how many tenants a page of the list shows.
	shownTenants = 50
	// maxSearch is the length of the longest ID, and so of a text that can be found in one.
	maxSearch = 128
)

// tenantsPage lists the tenants that are stored, and searches them by a part of their ID.
func (c *console) tenantsPage() page {
	return page{path: "/tenants", name: "tenants", nav: "/tenants", script: "tenants.js", view: c.viewTenants}
}

// tenantList is a page of the list.
type tenantList struct {
	Query   string
	Tenants []listedTenant
	Matches int
	All     int    // how many tenants are stored
	More    bool   // there are more than can be searched
	First   string // address of the first page, "" on it
	Next    string // address of the next page, "" on the last
	Unknown string // what was searched for, if it could be the ID of a community that is not stored
}

// listedTenant is a row of the list.
type listedTenant struct {
	ID     string
	Fault  string // why its document cannot be used
	Tenant *tenant.Tenant
	Bought bool // the tier was bought on Discord
	Config tenant.Config
}

func (c *console) viewTenants(r *http.Request) (content, error) {
	q := r.URL.Query()
	text, after := q.Get("q"), q.Get("after")
	if len(text) > maxSearch {
		return content{}, &tenant.FieldError{Field: "q", Reason: fmt.Sprintf("is longer than %d characters, which no ID is", maxSearch)}
	}
	if after != "" && !tenant.ValidID(after) {
		return content{}, store.ErrCursor
	}
	found, err := c.directory.Search(r.Context(), text, after, shownTenants)
	if err != nil {
		return content{}, err
	}
	list := tenantList{Query: text, Matches: found.Matches, All: found.Tenants, More: found.More}
	listed := false
	for i := range found.Entries {
		row := c.listTenant(&found.Entries[i])
		listed = listed || row.ID == text
		list.Tenants = append(list.Tenants, row)
	}
	if after != "" {
		list.First = tenantsAddress(text, "")
	}
	if found.After != "" {
		list.Next = tenantsAddress(text, found.After)
	}
	if tenant.ValidID(text) && !listed && after == "" {
		list.Unknown = text
	}
	return content{title: "Tenants", data: list}, nil
}

func (c *console) listTenant(e *store.Entry) listedTenant {
	row := listedTenant{ID: e.ID, Config: e.Config}
	if e.Err != nil {
		row.Fault = e.Err.Error()
		return row
	}
	row.Tenant = tenant.Resolve(e.ID, tenant.Documents{Config: &e.Config, Account: e.Account, Tiers: c.tenants.Tiers()}, time.Now())
	row.Bought = e.Account == nil && e.Config.TierFrom == tenant.FromEntitlement && row.Tenant.Tier != tenant.Free
	return row
}

// tenantsAddress is the address of a page of the list.
func tenantsAddress(text, after string) string {
	q := url.Values{}
	if text != "" {
		q.Set("q", text)
	}
	if after != "" {
		q.Set("after", after)
	}
	if len(q) == 0 {
		return "/tenants"
	}
	return "/tenants?" + q.Encode()
}
