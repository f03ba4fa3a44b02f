package console

import (
	"context"
	"errors"
	"net/http"
	"net/url"

	"github.com/go-json-experiment/json"

	"arrakis/pipeline/view"
	"arrakis/shard"
	"arrakis/tenant"
	"arrakis/tenant/store"
)

// accountPage shows one account and its communities, and changes it.
func (c *console) accountPage() page {
	return page{path: "/accounts/{id}", name: "account", nav: "/accounts", view: c.viewAccount}
}

// accountDetail is what the page shows.
type accountDetail struct {
	ID       string
	Account  *tenant.Account // nil: none is stored, or it cannot be used
	Fault    string          // why the stored document cannot be used
	ETag     string          // of the stored document, "" for none
	Document *payload
	Limits   []accountLimit
	Together bool // limits are counted for all communities together
	Degraded bool // what is used is not known
	Form     accountForm

	Communities []listedTenant
	First, Next string // addresses of the first and the next page of communities, "" for none

	Changes lastChanges
	API     string // its path in the API
}

// accountLimit is a limit of an account.
type accountLimit struct {
	Action   string
	Max      int64
	WindowMS int64
	Use      *shard.ActionUsage // of all communities; nil: each has its own
}

// accountForm has the fields with which an account is changed.
type accountForm struct {
	overridesForm
	Name    string
	Tier    tenant.Tier
	Counted tenant.Counting
}

func (c *console) viewAccount(r *http.Request) (content, error) {
	ctx, id := r.Context(), r.PathValue("id")
	d := accountDetail{ID: id, API: string(joinPath("/v1/accounts", id))}
	if err := c.readAccount(ctx, &d); err != nil {
		return content{}, err
	}
	account := tenant.Account{Tier: tenant.Pro, Counted: tenant.Each} // what the form of a new one begins with
	if d.Account != nil {
		account = *d.Account
		if err := c.readLimits(ctx, &d); err != nil {
			return content{}, err
		}
	}
	d.Form = newAccountForm(&account, c.tenants.Tiers())
	cursor := r.URL.Query().Get("cursor")
	page, err := c.tenants.AccountCommunities(ctx, id, store.ListOptions{Cursor: cursor, Limit: shownTenants})
	if err != nil {
		return content{}, err
	}
	for i := range page.Entries {
		d.Communities = append(d.Communities, c.listTenant(&page.Entries[i]))
	}
	here := string(joinPath("/accounts", id))
	if cursor != "" {
		d.First = here
	}
	if page.Cursor != "" {
		d.Next = here + "?" + url.Values{"cursor": {page.Cursor}}.Encode()
	}
	all := changesFilter{Target: id, Type: string(store.AuditAccount)}
	d.Changes, err = c.lastChanges(ctx, all, store.AuditQuery{Targets: []string{id}, Type: store.AuditAccount})
	return content{title: id, data: &d}, err
}

// readAccount reads the stored document, if there is one.
func (c *console) readAccount(ctx context.Context, d *accountDetail) error {
	account, v, err := c.tenants.GetAccount(ctx, d.ID)
	stored, bad := errors.AsType[*store.StoredError](err)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return nil
	case bad:
		d.Fault, d.ETag = stored.Error(), view.ETag(v)
		return nil
	case err != nil:
		return err
	}
	d.ETag, d.Account = view.ETag(v), view.Account(account)
	text, err := json.Marshal(d.Account)
	if err != nil {
		return err
	}
	p := newPayload(text)
	d.Document = &p
	return nil
}

// readLimits reads the limits, and what is used of them if all communities share them.
func (c *console) readLimits(ctx context.Context, d *accountDetail) error {
	member := view.Member(d.ID, d.Account, c.tenants.Tiers())
	d.Together = member.Account.Counted == tenant.Together
	var used shard.Usage
	if d.Together {
		var err error
		if used, err = shard.UsageOf(ctx, c.limits.Limiter, member); err != nil {
			return err
		}
		d.Degraded = used.Degraded
	}
	for a, n := range member.Max {
		l := accountLimit{Action: tenant.Action(a).String(), Max: n, WindowMS: tenant.Action(a).Window().Milliseconds()}
		for i := range used.Actions {
			if used.Actions[i].Action == l.Action {
				l.Use = &used.Actions[i]
			}
		}
		d.Limits = append(d.Limits, l)
	}
	return nil
}

func newAccountForm(a *tenant.Account, tiers *tenant.Tiers) accountForm {
	own := &tenant.Config{RateLimits: a.RateLimits, Features: a.Features, OnLimit: a.OnLimit, MaxDelayed: a.MaxDelayed, Mode: a.Mode, Weight: a.Weight}
	f := accountForm{overridesForm: newOverridesForm(own, tiers.Of(a.Tier), "tier"), Name: a.Name, Tier: a.Tier, Counted: tenant.Each}
	if a.Counted != "" {
		f.Counted = a.Counted
	}
	return f
}
