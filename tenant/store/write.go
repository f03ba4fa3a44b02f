package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"arrakis/tenant"
)

// PutOptions are the conditions of a write. The zero value has no conditions. A write whose condition does not hold
// fails with [ErrConflict].
type PutOptions struct {
	// IfMatch is the version that the stored document must have. Empty means any.
	IfMatch Version
	// IfNoneMatch demands that no document is stored yet.
	IfNoneMatch bool
}

func (o PutOptions) check(current Stored) error {
	switch exists := current.Exists(); {
	case o.IfNoneMatch && exists:
		return fmt.Errorf("%w: it exists already; update it instead", ErrConflict)
	case o.IfMatch != "" && !exists:
		return fmt.Errorf("%w: it is gone; create it without a version", ErrConflict)
	case o.IfMatch != "" && o.IfMatch != current.Version:
		return fmt.Errorf("%w: read it again and repeat the change", ErrConflict)
	}
	return nil
}

// UpgradeOption changes what UpgradeTier does.
type UpgradeOption uint8

// KeepOverrides keeps the tenant's own features and limits, which override the defaults of the new tier.
const KeepOverrides UpgradeOption = 1

// Put creates or replaces the config under id. An empty communityId becomes id. Boosts that have ended are dropped, as
// by every write of a config. If c has no createdAt, no entitlements or no members of other writers, the stored ones stay.
// If c has a tierFrom, the entitlements say its tier, as with every write of a config. Put returns the config as stored. Errors: [*tenant.FieldError], [ErrConflict].
func (s *Store) Put(ctx context.Context, id string, c tenant.Config, opts PutOptions) (tenant.Config, Version, error) {
	return s.putConfig(ctx, id, func(current Stored, _ time.Time) (tenant.Config, error) {
		return replace(current, c, opts, inheritConfig)
	})
}

// Update changes the config under id with edit. edit gets the stored config, or the free default if no config is
// stored, whose tier is left to entitlements if a SKU gives one. edit may be called several times, so it must have no other effect. No concurrent update is lost. Update
// returns the config as stored. Errors: the error of edit, [*tenant.FieldError], [*StoredError] if the stored document
// cannot be used, [ErrConflict] if other writers kept changing it.
func (s *Store) Update(ctx context.Context, id string, edit func(*tenant.Config) error) (tenant.Config, Version, error) {
	return s.update(ctx, id, PutOptions{}, func(c *tenant.Config, _ time.Time) error { return edit(c) })
}

// update is Update under a condition. edit also gets the time.
func (s *Store) update(ctx context.Context, id string, opts PutOptions, edit func(*tenant.Config, time.Time) error) (tenant.Config, Version, error) {
	return s.putConfig(ctx, id, func(current Stored, now time.Time) (tenant.Config, error) {
		if err := opts.check(current); err != nil {
			return tenant.Config{}, err
		}
		next := tenant.Config{Tier: tenant.Free}
		if len(s.Tiers().SKUs) > 0 {
			next.TierFrom = tenant.FromEntitlement
		}
		if current.Exists() {
			var err error
			if next, err = tenant.ParseStored[tenant.Config]([]byte(current.Text)); err != nil {
				return tenant.Config{}, &StoredError{Key: ConfigKey(id), Err: err}
			}
		}
		return next, edit(&next, now)
	})
}

// UpgradeTier sets the tier of id by hand, up or down: entitlements do not change it any more. Unless [KeepOverrides] is given, the tenant's own features and limits
// are cleared, so that the defaults of the tier take effect; what else the config says stays, mode and boosts too. The
// errors are those of Update.
func (s *Store) UpgradeTier(ctx context.Context, id string, tier tenant.Tier, opts ...UpgradeOption) (tenant.Config, Version, error) {
	keep := false
	for _, o := range opts {
		keep = keep || o == KeepOverrides
	}
	return s.Update(ctx, id, func(c *tenant.Config) error {
		c.Tier, c.TierFrom = tier, ""
		if !keep {
			c.Features = tenant.FeatureOverrides{Unknown: c.Features.Unknown}
			c.RateLimits = tenant.LimitOverrides{Unknown: c.RateLimits.Unknown}
		}
		return nil
	})
}

// Delete removes the config under id, which makes id a free tenant. ifMatch is the version that the stored config must
// have; empty means any. Errors: [ErrNotFound] if no config is stored and ifMatch is empty, [ErrConflict] if ifMatch is
// given and the stored config has another version or is gone.
func (s *Store) Delete(ctx context.Context, id string, ifMatch Version) error {
	if err := tenant.CheckID(id); err != nil {
		return err
	}
	_, err := s.write(ctx, Name{KindTenant, id}, remove(ifMatch))
	if err != nil {
		return fmt.Errorf("delete tenant %q: %w", id, err)
	}
	return nil
}

// PutTiers replaces the global tiers document. The tiers are in force in this process when PutTiers returns, and in
// other processes when they receive the global_config event. If c has no SKUs, the stored ones stay; to remove them all,
// give an empty map. Errors: [*tenant.FieldError], [ErrConflict].
func (s *Store) PutTiers(ctx context.Context, c tenant.Tiers, opts PutOptions) (Version, error) {
	if err := c.Validate(); err != nil {
		return "", err
	}
	_, v, err := s.putTiers(ctx, func(current Stored) (tenant.Tiers, error) {
		return replace(current, c, opts, inheritTiers)
	})
	return v, err
}

// UpdateTiers changes the global tiers document with edit, as Update does with a config.
func (s *Store) UpdateTiers(ctx context.Context, edit func(*tenant.Tiers) error) (tenant.Tiers, Version, error) {
	return s.putTiers(ctx, func(current Stored) (tenant.Tiers, error) {
		var next tenant.Tiers
		if current.Exists() {
			var err error
			if next, err = tenant.ParseStored[tenant.Tiers]([]byte(current.Text)); err != nil {
				return tenant.Tiers{}, &StoredError{Key: tiersKey, Err: err}
			}
		}
		if err := edit(&next); err != nil {
			return tenant.Tiers{}, err
		}
		return next, next.Validate()
	})
}

// putTiers stores the tiers that decide makes of the stored document, and puts them in force in this process.
func (s *Store) putTiers(ctx context.Context, decide func(current Stored) (tenant.Tiers, error)) (tenant.Tiers, Version, error) {
	var text string
	v, err := s.write(ctx, Name{Kind: KindTiers}, func(current Stored, _ time.Time) (string, error) {
		next, err := decide(current)
		if err != nil {
			return "", err
		}
		text, err = encode(&next)
		return text, err
	})
	if err != nil {
		return tenant.Tiers{}, "", fmt.Errorf("put tiers: %w", err)
	}
	// Parsed from the stored text, because the caller may change its own document.
	stored, err := tenant.ParseStored[tenant.Tiers]([]byte(text))
	if err != nil {
		return tenant.Tiers{}, "", fmt.Errorf("put tiers: %w", err)
	}
	s.tiers.Store(&stored)
	return stored, v, nil
}

// putConfig stores the config that decide makes of the stored config.
func (s *Store) putConfig(ctx context.Context, id string, decide func(current Stored, now time.Time) (tenant.Config, error)) (tenant.Config, Version, error) {
	if err := tenant.CheckID(id); err != nil {
		return tenant.Config{}, "", err
	}
	var c tenant.Config
	var checked string // an account that is stored
	next := func(current Stored, now time.Time) (string, error) {
		var err error
		if c, err = decide(current, now); err != nil {
			return "", err
		}
		if c.CommunityID == "" {
			c.CommunityID = id
		}
		if c.CreatedAt.IsZero() {
			c.CreatedAt = now
		}
		c.UpdatedAt = now
		c.SetTier(s.Tiers(), now)
		if err = c.Validate(); err != nil {
			return "", err
		}
		if c.Account != checked && joins(&c, current) {
			return "", errUnchecked
		}
		c.DropEndedBoosts(now)
		return encode(&c)
	}
	v, err := s.write(ctx, Name{KindTenant, id}, next)
	for round := 0; errors.Is(err, errUnchecked) && round < maxAttempts; round++ {
		// Not in the transaction: its connection would wait for another one, and many of them for each other.
		if err = s.checkAccount(ctx, c.Account); err == nil {
			checked = c.Account
			v, err = s.write(ctx, Name{KindTenant, id}, next)
		}
	}
	if err != nil {
		return tenant.Config{}, "", fmt.Errorf("write tenant %q: %w", id, err)
	}
	return c, v, nil
}
