package store

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"arrakis/tenant"
)

// maxRead is how many configs one page of AccountCommunities reads at most.
const maxRead = 10 * MaxListLimit

// AccountEntry is a stored account.
type AccountEntry struct {
	ID      string
	Account tenant.Account
	Version Version
	Err     error // a *StoredError when the document cannot be used
}

// AccountPage is a part of the stored accounts.
type AccountPage struct {
	Entries []AccountEntry // sorted by ID
	Cursor  string         // cursor of the next page; empty on the last page
}

// ListAccounts returns a page of the stored accounts. It walks the keys of Redis as List does, with the same guarantees
// and errors.
func (s *Store) ListAccounts(ctx context.Context, opts ListOptions) (AccountPage, error) {
	ids, cursor, err := s.ids(ctx, accountPrefix, opts)
	if err != nil {
		return AccountPage{}, fmt.Errorf("list accounts: %w", err)
	}
	texts, err := s.texts(ctx, keysOf(accountPrefix, ids))
	if err != nil {
		return AccountPage{}, fmt.Errorf("list accounts: %w", err)
	}
	page := AccountPage{Cursor: cursor}
	for i, text := range texts {
		if text == nil {
			continue
		}
		stored := storedIn(*text)
		e := AccountEntry{ID: ids[i], Version: stored.Version}
		if e.Account, err = tenant.ParseStored[tenant.Account]([]byte(stored.Text)); err != nil {
			e.Err = &StoredError{Key: AccountKey(e.ID), Err: err}
		}
		page.Entries = append(page.Entries, e)
	}
	return page, nil
}

// AccountCommunities returns a page of the communities that are in the account id, which need not be stored. It looks for
// them among all configs, in the order and with the guarantees and errors of List, and reads up to 10,000 configs for a
// page: so one of few communities may be short, or even empty, although more pages follow. A config that cannot be used is
// in no account.
func (s *Store) AccountCommunities(ctx context.Context, id string, opts ListOptions) (Page, error) {
	if err := tenant.CheckAccountID(id); err != nil {
		return Page{}, err
	}
	limit := min(cmp.Or(max(opts.Limit, 0), 100), MaxListLimit)
	page, size := Page{Cursor: opts.Cursor}, MaxListLimit
	for range maxRead / MaxListLimit {
		entries, next, err := s.members(ctx, id, ListOptions{Cursor: page.Cursor, Limit: size})
		if err != nil {
			return Page{}, fmt.Errorf("list communities of account %q: %w", id, err)
		}
		if room := limit - len(page.Entries); len(entries) > room {
			size = room // the same once more, with no more configs than there is room for
			continue
		}
		page.Entries, page.Cursor = append(page.Entries, entries...), next
		if next == "" || len(page.Entries) == limit {
			break
		}
	}
	slices.SortFunc(page.Entries, func(a, b Entry) int { return cmp.Compare(a.ID, b.ID) })
	return page, nil
}

// members returns those of a page of configs that name the account.
func (s *Store) members(ctx context.Context, account string, opts ListOptions) (entries []Entry, next string, err error) {
	ids, next, err := s.ids(ctx, configPrefix, opts)
	if err != nil {
		return nil, "", err
	}
	texts, err := s.texts(ctx, keysOf(configPrefix, ids))
	if err != nil {
		return nil, "", err
	}
	for i, text := range texts {
		if text != nil && !mayName(*text, account) {
			texts[i] = nil
		}
	}
	if entries, err = s.entriesOf(ctx, ids, texts); err != nil {
		return nil, "", err
	}
	return slices.DeleteFunc(entries, func(e Entry) bool { return e.Config.Account != account }), next, nil
}

// mayName reports whether a config can name the account, without parsing it, which takes many times longer. An ID needs no
// escapes in JSON, but another writer may have used some.
func mayName(config, account string) bool {
	return strings.Contains(config, `"`+account+`"`) || strings.Contains(config, `\`)
}
