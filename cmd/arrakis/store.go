package main

import (
	"context"
	"fmt"

	"github.com/redis/go-redis/v9"

	"arrakis/tenant/store"
)

// storeFlags are the flags of every command that works on Redis.
type storeFlags struct {
	outputFlags
	redisSettings
}

// withStore runs f with the store of tenants in Redis.
func (s *storeFlags) withStore(ctx context.Context, p process, f func(*store.Store) error) error {
	return s.withRedis(ctx, p, func(_ redis.UniversalClient, tenants *store.Store) error { return f(tenants) })
}

// withRedis runs f with the Redis client and the store of tenants.
func (s *storeFlags) withRedis(ctx context.Context, p process, f func(redis.UniversalClient, *store.Store) error) error {
	rdb, err := connectRedis(ctx, &s.redisSettings)
	if err != nil {
		return err
	}
	defer func() { _ = rdb.Close() }() // nothing is pending
	log := (&logSettings{LogLevel: "warn", LogFormat: "text"}).newLogger(p.stderr)
	tenants := store.New(rdb, store.Options{Source: "cli", Logger: log})
	if err := tenants.RefreshTiers(ctx); err != nil {
		return fmt.Errorf("read the tiers: %w", err)
	}
	return f(rdb, tenants)
}

// deleted runs remove, which deletes the document of id, and prints that. The output for people also has the text in
// follows.
func (s *storeFlags) deleted(ctx context.Context, p process, id, follows string, remove func(*store.Store) error) error {
	return s.withStore(ctx, p, func(tenants *store.Store) error {
		if err := remove(tenants); err != nil {
			return err
		}
		return s.print(p.stdout, map[string]string{"deleted": id}, func(t *table) { t.row("deleted " + id + ": " + follows) })
	})
}
