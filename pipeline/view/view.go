// Package view has the JSON documents that show tenants, accounts, feature flags and dead letters. The command line prints these
// documents with --json and the admin API answers with them, so that a program can read either. Therefore the package
// knows neither HTTP nor command-line flags. It is not a part of package tenant, whose documents are as Redis holds
// them, with the members of other writers, and which does not know dead letters.
//
// A single document can be sent back as it was shown, by PUT or as the --data of tenant set. An entry of a list has the
// ID, the ETag and the document. A list that is not complete ends with next, the cursor of the next page.
package view

import (
	"arrakis/tenant"
	"arrakis/tenant/store"
)

// Tenant is a config without the members of other writers, because a PUT with these members would be refused.
func Tenant(c tenant.Config) *tenant.Config { return c.Known() }

// Account is an account without the members of other writers.
func Account(a tenant.Account) *tenant.Account { return a.Known() }

// Flag is a flag without the members of other writers.
func Flag(f tenant.Flag) *tenant.Flag { return f.Known() }

// Tiers are the overrides without the members of other writers.
func Tiers(c tenant.Tiers) *tenant.Tiers { return c.Known() }

// Entry is one document of a list.
type Entry[T any] struct {
	ID       string `json:"id"`   // the ID under which the document is stored
	ETag     string `json:"etag"` // value for If-Match, quotes included
	Document *T     `json:",embed"`
	Error    string `json:"error,omitempty"` // why the document cannot be used; the document is then left out
}

func newEntry[T any](id string, v store.Version, document *T, err error) Entry[T] {
	if err != nil {
		return Entry[T]{ID: id, ETag: ETag(v), Error: err.Error()}
	}
	return Entry[T]{ID: id, ETag: ETag(v), Document: document}
}

// ETag is a version as a strong ETag (RFC 9110, section 8.8.3).
func ETag(v store.Version) string { return `"` + string(v) + `"` }

// Tenants are a page of the list of tenants.
type Tenants struct {
	Tenants []Entry[tenant.Config] `json:"tenants"`
	Next    string                 `json:"next,omitempty"`
}

// NewTenants makes a page of entries. next is the cursor of the next page, "" for none.
func NewTenants(entries []store.Entry, next string) Tenants {
	page := Tenants{Next: next}
	for _, e := range entries {
		page.Tenants = append(page.Tenants, newEntry(e.ID, e.Version, Tenant(e.Config), e.Err))
	}
	return page
}

// FoundTenants are a page of the tenants whose ID contains what was searched for.
type FoundTenants struct {
	Tenants
	Matches    int  `json:"matches"`             // on all pages
	Incomplete bool `json:"incomplete,omitzero"` // there are more tenants than can be searched
}

// NewFoundTenants makes the document of a page. next is the cursor of the next page, "" for none.
func NewFoundTenants(p store.DirectoryPage, next string) FoundTenants {
	return FoundTenants{Tenants: NewTenants(p.Entries, next), Matches: p.Matches, Incomplete: p.More}
}

// Accounts are a page of the list of accounts.
type Accounts struct {
	Accounts []Entry[tenant.Account] `json:"accounts"`
	Next     string                  `json:"next,omitempty"`
}

// NewAccounts makes a page of entries. next is the cursor of the next page, "" for none.
func NewAccounts(entries []store.AccountEntry, next string) Accounts {
	page := Accounts{Next: next}
	for i := range entries {
		e := &entries[i]
		page.Accounts = append(page.Accounts, newEntry(e.ID, e.Version, Account(e.Account), e.Err))
	}
	return page
}

// Flags are a page of the list of feature flags.
type Flags struct {
	Flags []Entry[tenant.Flag] `json:"flags"`
	Next  string               `json:"next,omitempty"`
}

// NewFlags makes a page of entries. next is the cursor of the next page, "" for none.
func NewFlags(entries []store.FlagEntry, next string) Flags {
	page := Flags{Next: next}
	for _, e := range entries {
		page.Flags = append(page.Flags, newEntry(e.ID, e.Version, Flag(e.Flag), e.Err))
	}
	return page
}
