package store

import (
	"context"
	"fmt"
	"slices"
	"strings"
)

const (
	namedUnusable   = 3   // keys that an Unusable names
	recheckedAtOnce = 100 // documents that one RecheckTenants reads
)

// The kinds of documents, as indices of what [Store.Unusable] returns.
const (
	Tiers = iota
	Flags
	Accounts
	Tenants
	numDocuments
)

// Unusable says how many documents of one kind Redis holds that cannot be used now. The last usable ones are in force.
type Unusable struct {
	Document string // the kind: tiers, flags, account or tenant
	Count    int
	Keys     []string // of up to three of them, as in [StoredError]; sorted
}

// Unusable returns the documents that could not be used when this store last read them, by kind: [Tiers], [Flags],
// [Accounts] and [Tenants]. A config or account that nobody reads is not among them.
func (s *Store) Unusable() [numDocuments]Unusable {
	kinds := [numDocuments]Unusable{{Document: "tiers"}, {Document: "flags"}, {Document: "account"}, {Document: "tenant"}}
	kinds[Tiers].Count, kinds[Tiers].Keys = s.tierDocuments.unusableKeys(namedUnusable)
	kinds[Flags].Count, kinds[Flags].Keys = s.flags.unusableKeys(namedUnusable)
	kinds[Accounts].Count, kinds[Accounts].Keys = s.accounts.unusableKeys(namedUnusable)
	kinds[Tenants].Count, kinds[Tenants].Keys = s.configs.unusableKeys(namedUnusable)
	for _, u := range kinds {
		slices.Sort(u.Keys)
	}
	return kinds
}

// RecheckTenants reads configs that cannot be used again, up to 100 of them, in one round trip. It returns the IDs of
// those that were mended or deleted, also with an error, which is Redis's or ctx's: on a Cluster some nodes may answer.
func (s *Store) RecheckTenants(ctx context.Context) (mended []string, err error) {
	return recheck(ctx, s, s.configs, configPrefix)
}

// RecheckAccounts is RecheckTenants for accounts.
func (s *Store) RecheckAccounts(ctx context.Context) (mended []string, err error) {
	return recheck(ctx, s, s.accounts, accountPrefix)
}

func recheck[T document](ctx context.Context, s *Store, m *memory[T], prefix string) (mended []string, err error) {
	_, keys := m.unusableKeys(recheckedAtOnce)
	texts, errs := s.textsEach(ctx, keys)
	for i, key := range keys {
		if errs[i] != nil {
			err = fmt.Errorf("read unusable documents again: %w", errs[i])
		} else if _, usable := m.read(ctx, key, texts[i]); usable {
			mended = append(mended, strings.TrimPrefix(key, prefix))
		}
	}
	return mended, err
}
