package store

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/redis/go-redis/v9"

	"arrakis/tenant"
)

// PutOptions are the conditions of a write. The zero value has none. A
// condition that does not hold makes the write an [ErrConflict].
type PutOptions struct {
	// IfMatch is the version that the stored document must have. Empty: any.
	IfMatch Version
	// IfNoneMatch demands that there is no stored document yet.
	IfNoneMatch bool
}

func (o PutOptions) check(current string, exists bool) error {
	switch {
	case o.IfNoneMatch && exists:
		return fmt.Errorf("%w: it exists already; update it instead", ErrConflict)
	case o.IfMatch != "" && !exists:
		return fmt.Errorf("%w: it is gone; create it without a version", ErrConflict)
	case o.IfMatch != "" && o.IfMatch != versionOf(current):
		return fmt.Errorf("%w: read it again and repeat the change", ErrConflict)
	}
	return nil
}

// UpgradeOption changes what UpgradeTier does.
type UpgradeOption uint8

// KeepOverrides keeps the tenant's own features and limits over those of its
// new tier.
const KeepOverrides UpgradeOption = 1

// Put creates or replaces the config under id. An empty communityId becomes
// id; createdAt, where it is not given, stays as stored, and so do members of
// other writers. It returns the config as stored. Errors: [*FieldError],
// [ErrConflict].
func (s *Store) Put(ctx context.Context, id string, c tenant.Config, opts PutOptions) (tenant.Config, Version, error) {
	return s.putConfig(ctx, id, func(current string, exists bool) (tenant.Config, error) {
		if err := opts.check(current, exists); err != nil {
			return tenant.Config{}, err
		}
		next := c
		// A stored document that cannot be used has nothing to hand on:
		// replacing it is how it is repaired.
		if was, err := tenant.ParseStored[tenant.Config]([]byte(current)); exists && err == nil {
			inheritConfig(&next, &was)
		}
		return next, nil
	})
}

// Update changes the config under id by edit, which gets what is stored, or
// the free default where nothing is, and may be called several times: it must
// do nothing but edit. Of concurrent updates none is lost. It returns the
// config as stored. Errors: that of edit, [*FieldError], [*StoredError] when
// what is stored cannot be used, [ErrConflict] when others kept changing it.
func (s *Store) Update(ctx context.Context, id string, edit func(*tenant.Config) error) (tenant.Config, Version, error) {
	return s.putConfig(ctx, id, func(current string, exists bool) (tenant.Config, error) {
		next := tenant.Config{Tier: tenant.Free}
		if exists {
			var err error
			if next, err = tenant.ParseStored[tenant.Config]([]byte(current)); err != nil {
				return tenant.Config{}, &StoredError{Key: configPrefix + id, Err: err}
			}
		}
		return next, edit(&next)
	})
}

// UpgradeTier sets the tier of id, up or down. The tenant's own features and
// limits are cleared, so that those of the tier take effect, unless
// [KeepOverrides] is given. Errors are those of Update.
func (s *Store) UpgradeTier(ctx context.Context, id string, tier tenant.Tier, opts ...UpgradeOption) (tenant.Config, Version, error) {
	keep := false
	for _, o := range opts {
		keep = keep || o == KeepOverrides
	}
	return s.Update(ctx, id, func(c *tenant.Config) error {
		c.Tier = tier
		if !keep {
			c.Features = tenant.FeatureOverrides{Unknown: c.Features.Unknown}
			c.RateLimits = tenant.LimitOverrides{Unknown: c.RateLimits.Unknown}
		}
		return nil
	})
}

// Delete removes the config under id, which makes it a free tenant: the one of
// the version ifMatch, or for an empty ifMatch whichever is stored. Errors:
// [ErrNotFound] when there is none and none was demanded, [ErrConflict] when
// there is not the one that was.
func (s *Store) Delete(ctx context.Context, id string, ifMatch Version) error {
	if !tenant.ValidID(id) {
		return errID(id)
	}
	err := s.write(ctx, place{key: configPrefix + id}, tenant.Event{Type: tenant.TenantChanged, TargetID: id}, remove(ifMatch))
	if err != nil {
		return fmt.Errorf("delete tenant %q: %w", id, err)
	}
	return nil
}

// PutTiers replaces the global tiers document, here and, by a global_config
// event, on every process. Errors: [*FieldError], [ErrConflict].
func (s *Store) PutTiers(ctx context.Context, c tenant.Tiers, opts PutOptions) (Version, error) {
	if err := c.Validate(); err != nil {
		return "", err
	}
	var text string
	err := s.write(ctx, place{key: tiersKey}, tenant.Event{Type: tenant.GlobalChanged},
		func(current string, exists bool, _ time.Time) (string, error) {
			if err := opts.check(current, exists); err != nil {
				return "", err
			}
			next := c
			if was, err := tenant.ParseStored[tenant.Tiers]([]byte(current)); exists && err == nil {
				inheritTiers(&next, &was)
			}
			var err error
			text, err = encode(&next)
			return text, err
		})
	if err != nil {
		return "", fmt.Errorf("put tiers: %w", err)
	}
	s.tiers.Store(&c)
	return versionOf(text), nil
}

// putConfig stores what decide makes of the stored config.
func (s *Store) putConfig(ctx context.Context, id string, decide func(current string, exists bool) (tenant.Config, error)) (tenant.Config, Version, error) {
	if !tenant.ValidID(id) {
		return tenant.Config{}, "", errID(id)
	}
	var c tenant.Config
	var text string
	err := s.write(ctx, place{key: configPrefix + id}, tenant.Event{Type: tenant.TenantChanged, TargetID: id},
		func(current string, exists bool, now time.Time) (string, error) {
			var err error
			if c, err = decide(current, exists); err != nil {
				return "", err
			}
			if c.CommunityID == "" {
				c.CommunityID = id
			}
			if c.CreatedAt.IsZero() {
				c.CreatedAt = now
			}
			c.UpdatedAt = now
			if err = c.Validate(); err != nil {
				return "", err
			}
			text, err = encode(&c)
			return text, err
		})
	if err != nil {
		return tenant.Config{}, "", fmt.Errorf("write tenant %q: %w", id, err)
	}
	return c, versionOf(text), nil
}

// decision makes the next text of a document from the current one, where it
// exists; an empty text deletes it. now is the time of Redis. It may be called
// several times.
type decision func(current string, exists bool, now time.Time) (next string, err error)

// remove is the decision to delete the document of a version, or for an empty
// one whichever there is.
func remove(ifMatch Version) decision {
	return func(current string, exists bool, _ time.Time) (string, error) {
		switch {
		case !exists && ifMatch == "":
			return "", ErrNotFound
		case !exists:
			return "", fmt.Errorf("%w: it is gone already", ErrConflict)
		case ifMatch != "" && ifMatch != versionOf(current):
			return "", fmt.Errorf("%w: read it again before deleting it", ErrConflict)
		}
		return "", nil
	}
}

// maxAttempts bounds how often a write starts again because others were
// faster. Of n writers at once one wins each time.
const maxAttempts = 100

// write stores what decide makes of the document at p and announces ev, in one
// transaction; on Cluster one after the other.
func (s *Store) write(ctx context.Context, p place, ev tenant.Event, decide decision) error {
	for attempt := range maxAttempts {
		err := s.rdb.Watch(ctx, func(tx *redis.Tx) error { return s.attempt(ctx, tx, p, ev, decide) }, p.key)
		switch {
		case errors.Is(err, redis.TxFailedErr):
			if err := pause(ctx, attempt); err != nil {
				return err
			}
		case err != nil:
			return err
		case s.cluster:
			if err := s.announce(ctx, ev); err != nil {
				return fmt.Errorf("stored, but the other processes are not told: run a reload: %w", err)
			}
			return nil
		default:
			return nil
		}
	}
	return fmt.Errorf("%w: %d times in a row; try again", ErrConflict, maxAttempts)
}

func (s *Store) attempt(ctx context.Context, tx *redis.Tx, p place, ev tenant.Event, decide decision) error {
	current, err := p.get(ctx, tx).Result()
	exists := err == nil
	if err != nil && !errors.Is(err, redis.Nil) {
		return fmt.Errorf("read %s: %w", p, err)
	}
	now, err := tx.Time(ctx).Result()
	if err != nil {
		return err
	}
	next, err := decide(current, exists, now.UTC().Truncate(time.Millisecond))
	if err != nil {
		return err
	}
	_, err = tx.TxPipelined(ctx, func(pipe redis.Pipeliner) error {
		p.set(ctx, pipe, next)
		if s.cluster {
			return nil
		}
		return s.appendChanges(ctx, pipe, ev)
	})
	return err
}

// pause waits before the next attempt: up to 2 ms at first, up to 20 ms later,
// at random so that writers do not meet again.
func pause(ctx context.Context, attempt int) error {
	most := time.Duration(min(attempt+1, 10)) * 2 * time.Millisecond
	select {
	case <-time.After(rand.N(most)): //nolint:gosec // spreads writers, keeps no secret
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// encode writes a document as Redis holds it. It fails when the document,
// with the members of other writers in it, outgrows [tenant.MaxDocument].
func encode(document any) (string, error) {
	text, err := json.Marshal(document)
	if err != nil {
		return "", err
	}
	if len(text) > tenant.MaxDocument {
		return "", &tenant.FieldError{Reason: fmt.Sprintf("holds %d bytes, at most %d are accepted", len(text), tenant.MaxDocument)}
	}
	return string(text), nil
}
