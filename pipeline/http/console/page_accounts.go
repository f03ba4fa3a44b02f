package console

import (
	"net/http"
	"net/url"

	"arrakis/pipeline/view"
	"arrakis/tenant"
	"arrakis/tenant/store"
)

// shownAccounts is how many accounts a page of the list shows.
const shownAccounts = 50

// accountsPage lists the accounts that are stored.
func (c *console) accountsPage() page {
	return page{path: "/accounts", name: "accounts", nav: "/accounts", view: c.viewAccounts}
}

// accountList is a page of the list.
type accountList struct {
	Asked    string // the ID that was asked for, "" for none
	Accounts []listedAccount
	First    string // address of the first page, "" on it
	Next     string // address of the next page, "" on the last
}

// listedAccount is a row of the list.
type listedAccount struct {
	ID      string
	Fault   string // why its document cannot be used
	Account tenant.Account
	Member  *tenant.Tenant // that has nothing of its own
}

func (c *console) viewAccounts(r *http.Request) (content, error) {
	q := r.URL.Query()
	list := accountList{Asked: q.Get("id")}
	if list.Asked != "" {
		if err := tenant.CheckAccountID(list.Asked); err != nil {
			return content{}, err
		}
	}
	page, err := c.tenants.ListAccounts(r.Context(), store.ListOptions{Cursor: q.Get("cursor"), Limit: shownAccounts})
	if err != nil {
		return content{}, err
	}
	for i := range page.Entries {
		e := &page.Entries[i]
		row := listedAccount{ID: e.ID, Account: e.Account}
		if e.Err != nil {
			row.Fault = e.Err.Error()
		} else {
			row.Member = view.Member(e.ID, &e.Account, c.tenants.Tiers())
		}
		list.Accounts = append(list.Accounts, row)
	}
	if q.Get("cursor") != "" {
		list.First = "/accounts"
	}
	if page.Cursor != "" {
		list.Next = "/accounts?" + url.Values{"cursor": {page.Cursor}}.Encode()
	}
	return content{title: "Accounts", data: list}, nil
}
