package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/redis/go-redis/v9"

	"arrakis/tenant/store"
)

// storeFlags are the flags of every command that works on Redis.
type storeFlags struct {
	outputFlags
	redisSettings
	postgresSettings
}

// withStore runs f with the store of tenants in Redis.
func (s *storeFlags) withStore(ctx context.Context, f func(*store.Store) error) error {
	return s.withRedis(ctx, func(_ redis.UniversalClient, tenants *store.Store) error { return f(tenants) })
}

// withTiers is withRedis for what goes by the tiers. It warns of documents that cannot be used.
func (s *storeFlags) withTiers(ctx context.Context, p process, f func(redis.UniversalClient, *store.Store) error) error {
	return s.withRedis(ctx, func(rdb redis.UniversalClient, tenants *store.Store) error {
		if err := tenants.RefreshTiers(ctx); err != nil {
			return fmt.Errorf("read the tiers: %w", err)
		}
		defer warnUnusable(p.stderr, tenants)
		return f(rdb, tenants)
	})
}

// withRedis runs f with the Redis client and the store of tenants.
func (s *storeFlags) withRedis(ctx context.Context, f func(redis.UniversalClient, *store.Store) error) error {
	rdb, err := connectRedis(ctx, &s.redisSettings)
	if err != nil {
		return err
	}
	defer func() { _ = rdb.Close() }() // nothing is pending
	db, err := s.connect(ctx)
	if err != nil {
		return err
	}
	if db == nil {
		return repair(f(rdb, store.New(rdb, store.Options{Source: "cli"})))
	}
	defer db.Close()
	tenants := store.New(rdb, store.Options{Source: "cli", SystemOfRecord: db})
	if err := db.CheckMirror(ctx, tenants.Mirror()); err != nil {
		return err
	}
	return repair(relayed(ctx, func(ctx context.Context) { db.Relay(ctx, tenants.Mirror()) }, func() error { return f(rdb, tenants) }))
}

// repair adds to the error of a stored document that cannot be used which command replaces or deletes it. What is wrong
// there may look like an argument of this command.
func repair(err error) error {
	bad, ok := errors.AsType[*store.StoredError](err)
	if !ok {
		return err
	}
	community, ofTenant := strings.CutPrefix(bad.Key, store.ConfigKey(""))
	account, ofAccount := strings.CutPrefix(bad.Key, store.AccountKey(""))
	_, flag, ofFlag := strings.Cut(bad.Key, " ")
	var command string
	switch {
	case ofTenant:
		command = "arrakis tenant delete " + community
	case ofAccount:
		command = "arrakis account delete --force " + account
	case ofFlag:
		command = "arrakis flag delete " + flag
	case bad.Key == "arrakis:tiers":
		command = "arrakis tiers set '{}'"
	default: // the flags as a whole: no command removes them all
		return err
	}
	return fmt.Errorf("%w\nthis is wrong in what is stored, not in what was given: `%s` removes it", err, command)
}

// warnUnusable writes a line for each document that the store has read and could not use.
func warnUnusable(stderr io.Writer, tenants *store.Store) {
	const line = "arrakis: warning: the document in Redis at %s cannot be used: this command goes by %s, " +
		"workers by the last usable one that they have read; `arrakis %s` says what is wrong\n"
	unusable := tenants.Unusable()
	for _, key := range unusable[store.Tiers].Keys {
		_, _ = fmt.Fprintf(stderr, line, key, "the default tiers", "tiers get")
	}
	for _, key := range unusable[store.Accounts].Keys {
		_, _ = fmt.Fprintf(stderr, line, key, "what configs say themselves", "account get "+strings.TrimPrefix(key, store.AccountKey("")))
	}
	for _, key := range unusable[store.Tenants].Keys {
		_, _ = fmt.Fprintf(stderr, line, key, "the free tier", "tenant get "+strings.TrimPrefix(key, store.ConfigKey("")))
	}
}

// nextStep adds the command that stores a document to the error that there is none.
func nextStep(err error, command string) error {
	if errors.Is(err, store.ErrNotFound) {
		return fmt.Errorf("%w; try `%s`", err, command)
	}
	return err
}

// deleted runs remove, which deletes the document of id, and prints that. The output for people also has the text in
// follows.
func (s *storeFlags) deleted(ctx context.Context, p process, id, follows string, remove func(*store.Store) error) error {
	return s.withStore(ctx, func(tenants *store.Store) error {
		if err := remove(tenants); err != nil {
			return err
		}
		return s.print(p.stdout, map[string]string{"deleted": id}, func(t *table) { t.row("deleted " + id + ": " + follows) })
	})
}
