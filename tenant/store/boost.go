package store

import (
	"context"
	"fmt"
	"time"

	"arrakis/tenant"
)

// Boost raises limits of id for a time that begins now, by the clock of Redis. Boosts of other limits stay. If no config
// is stored, the free default gets the boosts. Boost returns the config as stored. The errors are those of Put and
// Update.
func (s *Store) Boost(ctx context.Context, id string, r tenant.BoostRequest, opts PutOptions) (tenant.Config, Version, error) {
	if err := r.Validate(); err != nil {
		return tenant.Config{}, "", err
	}
	return s.update(ctx, id, opts, func(c *tenant.Config, now time.Time) error {
		r.Begin(c, now)
		return nil
	})
}

// errNoBoost leaves the document as it is.
var errNoBoost = fmt.Errorf("%w: there is no boost, or it has ended", ErrNotFound)

// EndBoosts ends all boosts of id now, and returns the config as stored. Errors: [ErrNotFound] if none lasts, and those
// of Boost.
func (s *Store) EndBoosts(ctx context.Context, id string, opts PutOptions) (tenant.Config, Version, error) {
	return s.update(ctx, id, opts, func(c *tenant.Config, now time.Time) error {
		if c.DropEndedBoosts(now); !c.Boosts.Any() {
			return errNoBoost
		}
		c.EndBoosts()
		return nil
	})
}
