package main

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"arrakis/loadtest/program"
)

// rebuildResult is what the loss of Redis has shown. Its JSON is what --json prints.
type rebuildResult struct {
	Tenants  int           `json:"tenants"`
	Restored int64         `json:"restored"` // keys of tenants that Redis had in the end
	Took     time.Duration `json:"took_ns"`  // from the loss until a worker said that Redis is filled
	Drift    string        `json:"drift"`    // what `arrakis tenant reconcile` says, "" for none
}

// insert makes tenants, with a config as an operator would write it.
const insert = `INSERT INTO arrakis.documents (kind, id, doc, version, updated_at)
SELECT 'tenant', 'comm_' || lpad(i::text, 7, '0'), format('{"communityId":"comm_%s","guildId":"%s","tier":"pro","features":{"customBranding":true},' ||
	'"rateLimits":{"commandsPerMinute":500},"createdAt":"2026-01-01T00:00:00Z","updatedAt":"2026-01-01T00:00:00Z"}',
	lpad(i::text, 7, '0'), 2000000000000000000 + i)::json, 1, clock_timestamp()
FROM generate_series(0, $1 - 1) AS i ON CONFLICT DO NOTHING`

// runRebuild empties Redis, and waits until a worker has filled it from PostgreSQL.
func (s *site) runRebuild(ctx context.Context, o options) (*rebuildResult, error) {
	conn, err := pgx.Connect(ctx, s.postgres.URL())
	if err != nil {
		return nil, err
	}
	defer func() { _ = conn.Close(ctx) }() // nothing is pending
	if _, err := conn.Exec(ctx, insert, o.tenants); err != nil {
		return nil, fmt.Errorf("make tenants: %w", err)
	}
	r := &rebuildResult{}
	if err := conn.QueryRow(ctx, `SELECT count(*) FROM arrakis.documents WHERE kind = 'tenant' AND doc IS NOT NULL`).Scan(&r.Tenants); err != nil {
		return nil, err
	}
	began := time.Now()
	if err := s.rdb.FlushAll(ctx).Err(); err != nil {
		return nil, err
	}
	bounded, cancel := context.WithTimeoutCause(ctx, 2*rebuiltWithin, fmt.Errorf("not within %v", 2*rebuiltWithin))
	defer cancel()
	if err := program.Poll(bounded, func() error { return s.filled(bounded) }); err != nil {
		return nil, err
	}
	r.Took = time.Since(began)
	if r.Restored, err = s.count(ctx); err != nil {
		return nil, err
	}
	r.Drift, err = s.drift(ctx)
	return r, err
}

// filled returns nil if Redis says that it has all copies of this database.
func (s *site) filled(ctx context.Context) error {
	owner, err := s.rdb.Get(ctx, "arrakis:record").Result()
	if err != nil {
		return fmt.Errorf("whose copies Redis has: %w", err)
	}
	conn, err := pgx.Connect(ctx, s.postgres.URL())
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(ctx) }() // nothing is pending
	var id string
	if err := conn.QueryRow(ctx, `SELECT id::text FROM arrakis.record WHERE state = 'active'`).Scan(&id); err != nil {
		return fmt.Errorf("which database is in use: %w", err)
	}
	if owner != id {
		return fmt.Errorf("the copies in Redis are of %s, want %s", owner, id)
	}
	return nil
}

// count counts the tenants in Redis.
func (s *site) count(ctx context.Context) (n int64, err error) {
	keys := s.rdb.Scan(ctx, 0, "tenant:config:*", 10_000).Iterator()
	for keys.Next(ctx) {
		n++
	}
	return n, keys.Err()
}
