package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"

	"github.com/redis/go-redis/v9"

	"arrakis/tenant/record"
	"arrakis/tenant/store"
)

// recordFlags are the flags of commands that work on both PostgreSQL and Redis.
type recordFlags struct{ storeFlags }

// withBoth runs f with the database, and Redis as its mirror.
func (s *recordFlags) withBoth(ctx context.Context, f func(*record.DB, store.Mirror) error) error {
	db, err := s.need(ctx)
	if err != nil {
		return err
	}
	defer db.Close()
	rdb, err := connectRedis(ctx, &s.redisSettings)
	if err != nil {
		return err
	}
	defer func() { _ = rdb.Close() }() // nothing is pending
	return f(db, mirror(rdb))
}

func mirror(rdb redis.UniversalClient) store.Mirror {
	return store.New(rdb, store.Options{Source: "cli"}).Mirror()
}

type tenantRebuildCmd struct{ recordFlags }

func (*tenantRebuildCmd) Help() string {
	return `For a Redis that was lost. Redis gets every document that it does not have, or has an older version of; then all workers read theirs again. A worker does this by itself when it finds that Redis is empty. It does no harm to run it at any time. For documents that somebody has changed in Redis itself, see "arrakis tenant reconcile".`
}

func (c *tenantRebuildCmd) Run(ctx context.Context, p process) error {
	return c.withBoth(ctx, func(db *record.DB, m store.Mirror) error {
		n, err := db.Rebuild(ctx, m, progress(p.stderr, "gave Redis"))
		if err != nil {
			return err
		}
		return c.print(p.stdout, map[string]int{"documents": n}, func(t *table) {
			t.row(fmt.Sprintf("Redis has all %d documents of PostgreSQL; all workers read theirs again", n))
		})
	})
}

type tenantReconcileCmd struct {
	Repair bool `help:"Give Redis what it lacks or has an older version of."`
	Force  bool `help:"Repair all drift: what others have written to Redis is lost."`
	recordFlags
}

func (*tenantReconcileCmd) Help() string {
	return `Compares every document of Redis with PostgreSQL. Workers do so each hour, repair what is missing or older, and tell in their logs and metrics of the rest (arrakis_record_drift_documents). The exit code is 1 if there is drift that was not repaired.

missing: Redis does not have the document. older: it has an earlier version, or one that is deleted since. newer: it has a later version, as after PostgreSQL was restored from a backup. different, extra: somebody has written to Redis itself.`
}

func (c *tenantReconcileCmd) Run(ctx context.Context, p process) error {
	o := record.CompareOptions{Progress: progress(p.stderr, "compared")}
	switch {
	case c.Force:
		o.Repair = record.RepairAll
	case c.Repair:
		o.Repair = record.RepairBehind
	}
	return c.withBoth(ctx, func(db *record.DB, m store.Mirror) error {
		report, err := db.Compare(ctx, m, o)
		if err != nil {
			return err
		}
		if err := c.print(p.stdout, report, func(t *table) { driftTable(t, &report, o.Repair) }); err != nil {
			return err
		}
		if report.Total() > report.Repaired {
			return errSilent
		}
		return nil
	})
}

func driftTable(t *table, r *record.Report, repair record.Repair) {
	t.row("documents", strconv.Itoa(r.Documents))
	for _, drift := range slices.Sorted(maps.Keys(r.Drift)) {
		t.row(string(drift), strconv.Itoa(r.Drift[drift]))
	}
	if r.Pending > 0 {
		t.row("on their way", strconv.Itoa(r.Pending))
	}
	for _, n := range r.Named {
		t.row("", string(n.Drift)+": "+n.Document)
	}
	if more := r.Total() - len(r.Named); more > 0 {
		t.row("", fmt.Sprintf("and %d more", more))
	}
	switch left := r.Total() - r.Repaired; {
	case r.Total() == 0:
		t.row("Redis has what PostgreSQL has")
	case left == 0:
		t.row(fmt.Sprintf("repaired %d", r.Repaired))
	case repair == record.RepairNone:
		t.row("nothing is repaired yet: --repair gives Redis what is missing or older, --force all")
	default:
		t.row(fmt.Sprintf("repaired %d; --force repairs the other %d too", r.Repaired, left))
	}
}

type tenantMoveCmd struct {
	From   choice `oneof:"redis,postgres" required:"" placeholder:"STORE" help:"Where the tenants are: redis or postgres."`
	To     choice `oneof:"redis,postgres" required:"" placeholder:"STORE" help:"Where they go."`
	DryRun bool   `help:"Change nothing: read everything, and say what would be moved."`
	recordFlags
}

func (*tenantMoveCmd) Help() string {
	return `Makes PostgreSQL the system of record in place of Redis, or Redis again. Tenants, accounts, tiers and flags are copied, and both sides are compared before anything is final. Meanwhile nothing can be changed, and what is in force stays: messages are handled as before.

To PostgreSQL: run "arrakis migrate up" and this command, then restart the workers with POSTGRES_URL, one by one. Until a worker is restarted, nothing can be changed through it. To Redis: run this command, then restart the workers without POSTGRES_URL. The audit log of PostgreSQL stays there.

A move that fails changes nothing. Repeat one that was interrupted.`
}

func (c *tenantMoveCmd) validate(process) error {
	if c.From == c.To {
		return errors.New("--from and --to are the same: give redis and postgres, or postgres and redis")
	}
	return nil
}

func (c *tenantMoveCmd) Run(ctx context.Context, p process) error {
	return c.withBoth(ctx, func(db *record.DB, m store.Mirror) error {
		run := db.MoveFromRedis
		if c.From == "postgres" {
			run = db.MoveToRedis
		}
		moved, err := run(ctx, m, record.MoveOptions{
			DryRun: c.DryRun,
			Read:   progress(p.stderr, "read"), Numbered: progress(p.stderr, "numbered"), Compared: progress(p.stderr, "compared"),
		})
		if err != nil {
			return err
		}
		return c.print(p.stdout, moved, func(t *table) { c.table(t, &moved) })
	})
}

func (c *tenantMoveCmd) table(t *table, moved *record.Moved) {
	for _, kind := range slices.Sorted(maps.Keys(moved.Documents)) {
		t.row(string(kind), strconv.Itoa(moved.Documents[kind]))
	}
	t.row("changed", fmt.Sprintf("%d that %s did not have like this", moved.Changed, c.To))
	t.row("deleted", fmt.Sprintf("%d that %s does not have", moved.Deleted, c.From))
	switch {
	case c.DryRun:
		t.row("nothing is moved yet: leave out --dry-run to do it")
	case c.To == "postgres":
		t.row("moved and compared: restart the workers with POSTGRES_URL, one by one")
	default:
		t.row("moved and compared: restart the workers without POSTGRES_URL, one by one")
	}
}
