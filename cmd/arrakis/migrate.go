package main

import (
	"context"
	"errors"
	"strconv"

	"arrakis/tenant/record"
)

type migrateCmd struct {
	Up     migrateUpCmd     `cmd:"" help:"Make or change the tables of PostgreSQL, as this release needs them."`
	Status migrateStatusCmd `cmd:"" help:"Show which migrations are applied."`
	Down   migrateDownCmd   `cmd:"" help:"Take the last migration back."`
}

// migrateFlags are the flags of all of them.
type migrateFlags struct {
	outputFlags
	postgresSettings
}

// withRecord runs f with the database.
func (s *migrateFlags) withRecord(ctx context.Context, f func(*record.DB) error) error {
	db, err := s.need(ctx)
	if err != nil {
		return err
	}
	defer db.Close()
	return f(db)
}

// printMigrations prints migrations that a command has applied or taken back.
func (s *migrateFlags) printMigrations(p process, member string, done []record.Migration, none string) error {
	if done == nil {
		done = []record.Migration{}
	}
	return s.print(p.stdout, map[string]any{member: done}, func(t *table) {
		for _, m := range done {
			t.row(member + " " + m.Name)
		}
		if len(done) == 0 {
			t.row(none)
		}
	})
}

type migrateUpCmd struct{ migrateFlags }

func (*migrateUpCmd) Help() string {
	return `Workers do this by themselves when they start; run it before, as a user who may make tables, if theirs may not. Several may run at once: one migrates, the others wait.`
}

func (c *migrateUpCmd) Run(ctx context.Context, p process) error {
	return c.withRecord(ctx, func(db *record.DB) error {
		done, err := db.Migrate(ctx)
		if err != nil {
			return err
		}
		return c.printMigrations(p, "applied", done, "nothing to do: the tables are as this release needs them")
	})
}

type migrateStatusCmd struct{ migrateFlags }

func (c *migrateStatusCmd) Run(ctx context.Context, p process) error {
	return c.withRecord(ctx, func(db *record.DB) error {
		all, err := db.Migrations(ctx)
		if err != nil {
			return err
		}
		return c.print(p.stdout, map[string]any{"migrations": all}, func(t *table) {
			t.row("VERSION", "MIGRATION", "APPLIED")
			for _, m := range all {
				applied := "no: run `arrakis migrate up`"
				if m.AppliedAt != nil {
					applied = when(*m.AppliedAt)
				}
				t.row(strconv.FormatInt(m.Version, 10), m.Name, applied)
			}
		})
	})
}

type migrateDownCmd struct {
	Yes bool `help:"Do it. The tables of the migration are dropped, with all that is in them."`
	migrateFlags
}

func (*migrateDownCmd) Help() string {
	return `Taking back the first migration deletes all tenants and the audit log from PostgreSQL. It is refused until the tenants are moved to Redis: "arrakis tenant move --from postgres --to redis". Restart the workers without POSTGRES_URL before, too: those that may make tables migrate up again.`
}

func (c *migrateDownCmd) Run(ctx context.Context, p process) error {
	if !c.Yes {
		return usageError{errors.New("this drops tables, with all that is in them: add --yes to do it")}
	}
	return c.withRecord(ctx, func(db *record.DB) error {
		done, err := db.MigrateDown(ctx)
		if err != nil {
			return err
		}
		return c.printMigrations(p, "taken back", done, "nothing to do: no migration is applied")
	})
}
