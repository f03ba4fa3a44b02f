package store

import (
	"context"
	"errors"
	"fmt"

	"github.com/redis/go-redis/v9"

	"arrakis/tenant"
)

// AccountKey returns the key in Redis of the account id.
func AccountKey(id string) string { return accountPrefix + id }

// AccountError means that the account of a community could not be read.
type AccountError struct {
	Key string // of the account in Redis
	Err error
}

func (e *AccountError) Error() string { return fmt.Sprintf("read %s: %v", e.Key, e.Err) }

func (e *AccountError) Unwrap() error { return e.Err }

// readAccount is the account that a config names.
type readAccount struct {
	account *tenant.Account // nil: it is not stored, or has never been usable
	err     error           // an [*AccountError]
}

// accountsOf reads the accounts that the configs name, each once, all in one round trip; without any, in none. A config
// may be nil. skip is as for LoadEach.
func (s *Store) accountsOf(ctx context.Context, configs []*tenant.Config, skip func(key string) error) map[string]readAccount {
	var accounts map[string]readAccount
	var ids, keys []string
	for _, c := range configs {
		if c == nil || c.Account == "" {
			continue
		}
		if _, known := accounts[c.Account]; known {
			continue
		}
		if accounts == nil {
			accounts = make(map[string]readAccount)
		}
		key := AccountKey(c.Account)
		accounts[c.Account] = readAccount{}
		if skip != nil {
			if err := skip(key); err != nil {
				accounts[c.Account] = readAccount{err: &AccountError{Key: key, Err: err}}
				continue
			}
		}
		ids, keys = append(ids, c.Account), append(keys, key)
	}
	texts, errs := s.textsEach(ctx, keys)
	for i, id := range ids {
		if errs[i] != nil {
			accounts[id] = readAccount{err: &AccountError{Key: keys[i], Err: errs[i]}}
			continue
		}
		account, _ := s.accounts.read(ctx, keys[i], texts[i])
		accounts[id] = readAccount{account: account}
	}
	return accounts
}

// AccountOf reads the account that a config names, from Redis, for display. It is nil if the config names none, or if it
// is not stored. Of an account that cannot be used, it is the last usable one that this store has seen.
func (s *Store) AccountOf(ctx context.Context, c *tenant.Config) (*tenant.Account, error) {
	read := s.accountsOf(ctx, []*tenant.Config{c}, nil)[c.Account]
	return read.account, read.err
}

// SetAccount puts the account of the documents' config into them. reply is Redis's to a GET of its [AccountKey].
func (s *Store) SetAccount(ctx context.Context, d *Documents, reply *redis.Cmd) error {
	key := AccountKey(d.Config.Account)
	text, err := reply.Text()
	var stored *string
	switch {
	case err == nil:
		stored = &text
	case !errors.Is(err, redis.Nil) && !redis.HasErrorPrefix(err, wrongType):
		return &AccountError{Key: key, Err: err}
	}
	var usable bool
	if d.Account, usable = s.accounts.read(ctx, key, stored); !usable {
		d.Unusable = append(d.Unusable, key)
	}
	return nil
}
