package store

import (
	"context"
	"errors"
	"time"

	"arrakis/tenant"
)

// errNothingNew leaves the document as it is.
var errNothingNew = errors.New("nothing new")

// Entitle applies what Discord says of the entitlements of id to its config, by the SKUs in force; see
// [tenant.Observation.Apply]. It writes only if that changes something: then changed is true, and every process is told.
// Otherwise it costs one read. It returns when the config was written last, zero if
// there is none. Errors: [*tenant.FieldError], [*StoredError], [ErrConflict], and those of Redis and ctx.
func (s *Store) Entitle(ctx context.Context, id string, o tenant.Observation) (updatedAt time.Time, changed bool, err error) {
	if err := tenant.CheckID(id); err != nil {
		return time.Time{}, false, err
	}
	c, err := s.inForce(ctx, id)
	stored := &c
	if errors.Is(err, ErrNotFound) {
		stored, err = nil, nil
	}
	if err != nil {
		return time.Time{}, false, err
	}
	if o.Apply(stored, s.Tiers(), time.Now()) == nil {
		return c.UpdatedAt, false, nil
	}
	c, _, err = s.putConfig(ctx, id, func(current Stored, now time.Time) (tenant.Config, error) {
		var stored *tenant.Config
		if current.Exists() {
			was, err := tenant.ParseStored[tenant.Config]([]byte(current.Text))
			if err != nil {
				return tenant.Config{}, &StoredError{Key: ConfigKey(id), Err: err}
			}
			stored, updatedAt = &was, was.UpdatedAt
		}
		next := o.Apply(stored, s.Tiers(), now)
		if next == nil {
			return tenant.Config{}, errNothingNew // another process was faster
		}
		return *next, nil
	})
	if errors.Is(err, errNothingNew) {
		return updatedAt, false, nil
	}
	return c.UpdatedAt, err == nil, err
}

// inForce reads the config in Redis, which is in force, whatever the system of record has. Its errors are those of Get.
func (s *Store) inForce(ctx context.Context, id string) (tenant.Config, error) {
	stored, err := s.mirrored(ctx, Name{KindTenant, id})
	if err != nil {
		return tenant.Config{}, err
	}
	c, _, err := parse[tenant.Config](Name{KindTenant, id}, stored)
	return c, err
}
