package store

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/cespare/xxhash/v2"
	"github.com/redis/go-redis/v9"

	"arrakis/tenant"
)

// MaxFlags is the largest number of flags.
const MaxFlags = 1000

// FlagEntry is a stored flag.
type FlagEntry struct {
	ID      string // field of the hash
	Flag    tenant.Flag
	Version Version
	Err     error // a *StoredError when the document cannot be used
}

// Flags reads all flags. If a flag's document cannot be used, that is logged, and the flag has the last usable document
// that this store has seen. If there was none, the flag is off. If the flags as a whole cannot be used, because there
// are more than [MaxFlags], that is logged too, and Flags returns the set that it returned before. An error is Redis's
// or ctx's.
func (s *Store) Flags(ctx context.Context) (*tenant.Flags, error) {
	texts, err := s.flagTexts(ctx)
	if bad, ok := errors.AsType[*StoredError](err); ok {
		s.flags.refuse(ctx, flagsKey, xxhash.Sum64String(bad.Error()), bad.Err)
		return s.flagSet.Load(), nil
	}
	if err != nil {
		return nil, err
	}
	s.flags.keep(ctx, func(key string) bool {
		_, there := texts[strings.TrimPrefix(key, flagsKey+" ")]
		return there
	})
	set, _ := s.flagsOf(ctx, texts)
	s.flagSet.Store(set)
	return set, nil
}

// flagsOf makes the set of flags, and returns the keys of those that cannot be used, sorted.
func (s *Store) flagsOf(ctx context.Context, texts map[string]string) (set *tenant.Flags, unusable []string) {
	flags := make([]tenant.Flag, 0, len(texts))
	for id, text := range texts {
		key := Name{KindFlag, id}.String()
		f, usable := s.flags.read(ctx, key, &text)
		if !usable {
			unusable = append(unusable, key)
		}
		if f != nil {
			flag := *f
			flag.ID = id // events and callers use the field's name, even if the document has another ID
			flags = append(flags, flag)
		}
	}
	slices.Sort(unusable)
	return tenant.NewFlags(flags...), unusable
}

// ListFlags reads all flags, for display. They are sorted by ID. The error is a [*StoredError] if there are more than
// [MaxFlags].
func (s *Store) ListFlags(ctx context.Context) ([]FlagEntry, error) {
	texts, err := s.flagTexts(ctx)
	if err != nil {
		return nil, err
	}
	entries := make([]FlagEntry, 0, len(texts))
	for _, id := range slices.Sorted(maps.Keys(texts)) {
		stored := storedIn(texts[id])
		e := FlagEntry{ID: id, Version: stored.Version}
		if e.Flag, err = tenant.ParseStored[tenant.Flag]([]byte(stored.Text)); err != nil {
			e.Err = &StoredError{Key: Name{KindFlag, id}.String(), Err: err}
		}
		entries = append(entries, e)
	}
	return entries, nil
}

// flagTexts reads the stored texts of all flags. The error is a [*StoredError] if there are too many, or if the key is
// not a hash.
func (s *Store) flagTexts(ctx context.Context) (map[string]string, error) {
	n, err := s.rdb.HLen(ctx, flagsKey).Result()
	if redis.HasErrorPrefix(err, wrongType) {
		return nil, &StoredError{Key: flagsKey, Err: &tenant.FieldError{Reason: "must be a hash"}}
	}
	if err != nil {
		return nil, fmt.Errorf("read flags: %w", err)
	}
	if err := checkFlags(n); err != nil {
		return nil, err
	}
	texts, err := s.rdb.HGetAll(ctx, flagsKey).Result()
	if err != nil {
		return nil, fmt.Errorf("read flags: %w", err)
	}
	maps.DeleteFunc(texts, func(id, _ string) bool { return !tenant.ValidFlagID(id) })
	return texts, nil
}

// checkFlags returns a [*StoredError] if there are too many flags.
func checkFlags(n int64) error {
	if n <= MaxFlags {
		return nil
	}
	return &StoredError{Key: flagsKey, Err: &tenant.FieldError{
		Reason: fmt.Sprintf("holds %d flags, at most %d are accepted; delete some", n, MaxFlags),
	}}
}

// GetFlag reads a flag. It returns [ErrNotFound] if the flag is not stored, and a [*StoredError] together with the
// version if the document cannot be used.
func (s *Store) GetFlag(ctx context.Context, id string) (tenant.Flag, Version, error) {
	if !tenant.ValidFlagID(id) {
		return tenant.Flag{}, "", errFlagID(id)
	}
	f, v, err := get[tenant.Flag](ctx, s, Name{KindFlag, id})
	if errors.Is(err, ErrNotFound) {
		err = fmt.Errorf("flag %q: %w: it is off for everybody", id, err)
	}
	return f, v, err
}

// PutFlag creates or replaces the flag f.ID and returns it as stored. Errors:
// [*tenant.FieldError], [ErrConflict].
func (s *Store) PutFlag(ctx context.Context, f tenant.Flag, opts PutOptions) (tenant.Flag, Version, error) {
	if err := f.Validate(); err != nil {
		return tenant.Flag{}, "", err
	}
	// The bound is checked outside the transaction. Concurrent writers may exceed it by a few flags; then the
	// flags that are in force stay, and the log says so.
	n, err := s.rdb.HLen(ctx, flagsKey).Result()
	if err != nil {
		return tenant.Flag{}, "", fmt.Errorf("put flag %q: %w", f.ID, err)
	}
	var next tenant.Flag
	v, err := s.write(ctx, Name{KindFlag, f.ID},
		func(current Stored, _ time.Time) (string, error) {
			var err error
			if next, err = replace(current, f, opts, inheritFlag); err != nil {
				return "", err
			}
			if !current.Exists() && n >= MaxFlags {
				return "", &tenant.FieldError{Reason: fmt.Sprintf("there are %d flags already, at most %d are accepted; delete some", n, MaxFlags)}
			}
			return encode(&next)
		})
	if err != nil {
		return tenant.Flag{}, "", fmt.Errorf("put flag %q: %w", f.ID, err)
	}
	return next, v, nil
}

// DeleteFlag removes a flag, which is then off for all tenants. ifMatch and the errors are as for Delete.
func (s *Store) DeleteFlag(ctx context.Context, id string, ifMatch Version) error {
	if !tenant.ValidFlagID(id) {
		return errFlagID(id)
	}
	if _, err := s.write(ctx, Name{KindFlag, id}, remove(ifMatch)); err != nil {
		return fmt.Errorf("delete flag %q: %w", id, err)
	}
	return nil
}

func errFlagID(id string) error {
	return &tenant.FieldError{Field: "flag", Reason: fmt.Sprintf("%.64q must be 1 to 128 letters, digits, '_', '.' or '-'", id)}
}
