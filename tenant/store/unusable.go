package store

import (
	"context"
	"fmt"
	"slices"
	"strings"
)

const (
	namedUnusable   = 3   // keys that an Unusable names
	recheckedAtOnce = 100 // tenants that one RecheckTenants reads
)

// The kinds of documents, as indices of what [Store.Unusable] returns.
const (
	Tiers = iota
	Flags
	Tenants
	numDocuments
)

// Unusable says how many documents of one kind Redis holds that cannot be used now. The last usable ones are in force.
type Unusable struct {
	Document string // the kind: tiers, flags or tenant
	Count    int
	Keys     []string // of up to three of them, as in [StoredError]; sorted
}

// Unusable returns the documents that could not be used when this store last read them, by kind: [Tiers], [Flags]
// and [Tenants]. A config that nobody reads is not among them.
func (s *Store) Unusable() [numDocuments]Unusable {
	kinds := [numDocuments]Unusable{{Document: "tiers"}, {Document: "flags"}, {Document: "tenant"}}
	kinds[Tiers].Count, kinds[Tiers].Keys = s.tierDocuments.unusableKeys(namedUnusable)
	kinds[Flags].Count, kinds[Flags].Keys = s.flags.unusableKeys(namedUnusable)
	kinds[Tenants].Count, kinds[Tenants].Keys = s.configs.unusableKeys(namedUnusable)
	for _, u := range kinds {
		slices.Sort(u.Keys)
	}
	return kinds
}

// RecheckTenants reads configs that cannot be used again, up to 100 of them, in one round trip. It returns the IDs of
// those that were mended or deleted, also with an error, which is Redis's or ctx's: on a Cluster some nodes may answer.
func (s *Store) RecheckTenants(ctx context.Context) (mended []string, err error) {
	_, keys := s.configs.unusableKeys(recheckedAtOnce)
	ids := make([]string, len(keys))
	for i, key := range keys {
		ids[i] = strings.TrimPrefix(key, configPrefix)
	}
	texts, errs := s.textsEach(ctx, ids)
	for i, key := range keys {
		if errs[i] != nil {
			err = fmt.Errorf("read unusable tenants again: %w", errs[i])
		} else if _, usable := s.configs.read(ctx, key, texts[i]); usable {
			mended = append(mended, ids[i])
		}
	}
	return mended, err
}
