package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"arrakis/tenant"
)

// accountPrefix begins the key of an account.
const accountPrefix = "account:config:"

// ErrAccountUsed means that communities are in the account, so that it is not deleted.
var ErrAccountUsed = errors.New("communities are in it")

// GetAccount reads the account id. It returns [ErrNotFound] if it is not stored, and a [*StoredError] together with the
// version if the document cannot be used.
func (s *Store) GetAccount(ctx context.Context, id string) (tenant.Account, Version, error) {
	if err := tenant.CheckAccountID(id); err != nil {
		return tenant.Account{}, "", err
	}
	a, v, err := get[tenant.Account](ctx, s, Name{KindAccount, id})
	if errors.Is(err, ErrNotFound) {
		err = fmt.Errorf("account %q: %w", id, err)
	}
	return a, v, err
}

// PutAccount creates or replaces the account id. If a has no createdAt or no members of other writers, the stored ones
// stay. It returns the account as stored. Errors: [*tenant.FieldError], [ErrConflict].
func (s *Store) PutAccount(ctx context.Context, id string, a tenant.Account, opts PutOptions) (tenant.Account, Version, error) {
	return s.putAccount(ctx, id, func(current Stored) (tenant.Account, error) {
		return replace(current, a, opts, inheritAccount)
	})
}

// UpdateAccount changes the account id with edit, as Update does with a config. If no account is stored, edit gets one of
// the free tier.
func (s *Store) UpdateAccount(ctx context.Context, id string, edit func(*tenant.Account) error) (tenant.Account, Version, error) {
	return s.putAccount(ctx, id, func(current Stored) (tenant.Account, error) {
		next := tenant.Account{Tier: tenant.Free}
		if current.Exists() {
			var err error
			if next, err = tenant.ParseStored[tenant.Account]([]byte(current.Text)); err != nil {
				return tenant.Account{}, &StoredError{Key: AccountKey(id), Err: err}
			}
		}
		return next, edit(&next)
	})
}

// putAccount stores the account that decide makes of the stored account.
func (s *Store) putAccount(ctx context.Context, id string, decide func(current Stored) (tenant.Account, error)) (tenant.Account, Version, error) {
	if err := tenant.CheckAccountID(id); err != nil {
		return tenant.Account{}, "", err
	}
	var a tenant.Account
	v, err := s.write(ctx, Name{KindAccount, id}, func(current Stored, now time.Time) (string, error) {
		var err error
		if a, err = decide(current); err != nil {
			return "", err
		}
		if a.CreatedAt.IsZero() {
			a.CreatedAt = now
		}
		a.UpdatedAt = now
		if err = a.Validate(); err != nil {
			return "", err
		}
		return encode(&a)
	})
	if err != nil {
		return tenant.Account{}, "", fmt.Errorf("write account %q: %w", id, err)
	}
	return a, v, nil
}

// DeleteOption changes what DeleteAccount does.
type DeleteOption uint8

// EvenIfUsed deletes an account although communities are in it. Each then has what its own config says.
const EvenIfUsed DeleteOption = 1

// DeleteAccount removes the account id, unless communities are in it. To know that, it reads all configs, until it finds
// one; a community that is put into the account meanwhile may be missed, and then has what its own config says. ifMatch
// and the errors are as for Delete, and [ErrAccountUsed].
func (s *Store) DeleteAccount(ctx context.Context, id string, ifMatch Version, opts ...DeleteOption) error {
	if err := tenant.CheckAccountID(id); err != nil {
		return err
	}
	if len(opts) == 0 {
		if err := s.checkUnused(ctx, id); err != nil {
			return fmt.Errorf("delete account %q: %w", id, err)
		}
	}
	if _, err := s.write(ctx, Name{KindAccount, id}, remove(ifMatch)); err != nil {
		return fmt.Errorf("delete account %q: %w", id, err)
	}
	return nil
}

// checkUnused returns ErrAccountUsed, with a community, if one is in the account.
func (s *Store) checkUnused(ctx context.Context, id string) error {
	for cursor := ""; ; {
		page, err := s.AccountCommunities(ctx, id, ListOptions{Cursor: cursor, Limit: 1})
		switch {
		case err != nil:
			return err
		case len(page.Entries) > 0:
			return fmt.Errorf("%w, such as %q, which would have what its own config says", ErrAccountUsed, page.Entries[0].ID)
		case page.Cursor == "":
			return nil
		}
		cursor = page.Cursor
	}
}

// errUnchecked means that a config puts its community into an account of which nobody knows whether it is stored.
var errUnchecked = fmt.Errorf("%w: the account of the tenant", ErrConflict)

// joins reports whether a config puts its community into an account. One that names the account already does not.
func joins(c *tenant.Config, current Stored) bool {
	if c.Account == "" {
		return false
	}
	was, err := tenant.ParseStored[tenant.Config]([]byte(current.Text))
	return err != nil || was.Account != c.Account
}

// checkAccount refuses an account that is not stored: the tier of a community in it would be another than the author of
// the config thinks.
func (s *Store) checkAccount(ctx context.Context, account string) error {
	_, _, err := s.GetAccount(ctx, account)
	switch {
	case errors.Is(err, ErrNotFound):
		return &tenant.FieldError{Field: "account", Reason: fmt.Sprintf("there is no account %q; create it before a community is put into it", account)}
	case errors.As(err, new(*StoredError)): // it is there
		return nil
	}
	return err
}

func inheritAccount(next, was *tenant.Account) {
	if next.CreatedAt.IsZero() {
		next.CreatedAt = was.CreatedAt
	}
	keep(&next.Unknown, was.Unknown)
	keep(&next.Features.Unknown, was.Features.Unknown)
	keep(&next.RateLimits.Unknown, was.RateLimits.Unknown)
	keep(&next.OnLimit.Unknown, was.OnLimit.Unknown)
}
