package record

import (
	"context"
	"database/sql"
	"embed"
	"fmt"
	"io/fs"
	"time"

	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"
)

// migrations are never changed once they are released; a change of the tables is a further one. It must work with the
// release before, because both run for a while when workers are replaced one by one.
//
//go:embed migrations/*.sql
var migrations embed.FS

const (
	migrationsTable = "arrakis.migrations"
	// migrationsLock is the ID of the advisory lock that one process holds while it migrates.
	migrationsLock = 0x6172726b_00000001
)

// Migration is a step of the tables from one version to the next.
type Migration struct {
	Version   int64      `json:"version"`
	Name      string     `json:"name"`
	AppliedAt *time.Time `json:"applied_at,omitempty"` // nil: it is not applied
}

// Migrate applies all migrations that are not applied yet, and returns them. Several processes may do so at the same
// time: one does, and the others wait for it.
func (d *DB) Migrate(ctx context.Context) ([]Migration, error) {
	return d.migrate(ctx, func(p *goose.Provider) ([]*goose.MigrationResult, error) { return p.Up(ctx) })
}

// MigrateDown takes the last migration back, with all that its tables hold. It returns none if none is applied. The error
// says so if the tables would be dropped while documents are kept in them.
func (d *DB) MigrateDown(ctx context.Context) ([]Migration, error) {
	return d.migrate(ctx, func(p *goose.Provider) ([]*goose.MigrationResult, error) {
		at, err := p.GetDBVersion(ctx)
		if err != nil || at == 0 {
			return nil, err
		}
		r, err := p.Down(ctx)
		if err != nil { // then there is no result
			return nil, err
		}
		return []*goose.MigrationResult{r}, nil
	})
}

func (d *DB) migrate(ctx context.Context, run func(*goose.Provider) ([]*goose.MigrationResult, error)) ([]Migration, error) {
	var done []Migration
	err := d.withGoose(ctx, func(p *goose.Provider) error {
		results, err := run(p)
		for _, r := range results {
			done = append(done, Migration{Version: r.Source.Version, Name: r.Source.Path})
		}
		return err
	})
	d.ready.Store(false) // look again
	if err := d.writeError(ctx, err); err != nil {
		return nil, fmt.Errorf("migrate: %w", err)
	}
	return done, nil
}

// Migrations returns all migrations that this release knows, by version. It changes nothing.
func (d *DB) Migrations(ctx context.Context) (all []Migration, err error) {
	files, err := migrations.ReadDir("migrations")
	if err != nil {
		return nil, err
	}
	if there, err := d.migrated(ctx); err != nil || !there { // goose would make its table
		for _, f := range files {
			version, _ := goose.NumericComponent(f.Name()) // the name begins with it
			all = append(all, Migration{Version: version, Name: f.Name()})
		}
		return all, err
	}
	err = d.withGoose(ctx, func(p *goose.Provider) error {
		states, err := p.Status(ctx)
		for _, s := range states {
			m := Migration{Version: s.Source.Version, Name: s.Source.Path}
			if s.State == goose.StateApplied {
				m.AppliedAt = &s.AppliedAt
			}
			all = append(all, m)
		}
		return err
	})
	if err := d.readError(ctx, err); err != nil {
		return nil, fmt.Errorf("read which migrations are applied: %w", err)
	}
	return all, nil
}

// withGoose runs f with what applies migrations.
func (d *DB) withGoose(ctx context.Context, f func(*goose.Provider) error) error {
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return err
	}
	locker, err := lock.NewPostgresSessionLocker(lock.WithLockID(migrationsLock), lock.WithLockTimeout(1, 300))
	if err != nil {
		return err
	}
	db := stdlib.OpenDBFromPool(d.pool)
	defer db.Close() //nolint:errcheck // the pool stays open, and nothing is pending
	if err := ensureSchema(ctx, db); err != nil {
		return err
	}
	p, err := goose.NewProvider(goose.DialectPostgres, db, files,
		goose.WithTableName(migrationsTable), goose.WithSessionLocker(locker), goose.WithDisableGlobalRegistry(true), goose.WithSlog(d.log))
	if err != nil {
		return err
	}
	return f(p)
}

// ensureSchema makes the schema. It needs the right to do so only if there is none.
func ensureSchema(ctx context.Context, db *sql.DB) error {
	var there bool
	err := db.QueryRowContext(ctx, `SELECT EXISTS (SELECT FROM pg_namespace WHERE nspname = 'arrakis')`).Scan(&there)
	if err != nil || there {
		return err
	}
	if _, err = db.ExecContext(ctx, `CREATE SCHEMA IF NOT EXISTS arrakis`); err != nil {
		// Of several that make it at once, one can fail.
		if again := db.QueryRowContext(ctx, `SELECT EXISTS (SELECT FROM pg_namespace WHERE nspname = 'arrakis')`).Scan(&there); again == nil && there {
			return nil
		}
	}
	return err
}

// ensureTables migrates if this release has a migration that is not applied. It asks once, until a statement fails for
// lack of a table.
func (d *DB) ensureTables(ctx context.Context) error {
	if d.ready.Load() {
		return nil
	}
	// One goroutine at a time: goose looks only each second whether another has migrated, and the relay must not wait for that.
	select {
	case d.ensuring <- struct{}{}:
		defer func() { <-d.ensuring }()
	case <-ctx.Done():
		return ctx.Err()
	}
	if d.ready.Load() {
		return nil
	}
	pending, err := d.pending(ctx)
	if err == nil && pending {
		var done []Migration
		done, err = d.Migrate(ctx)
		for _, m := range done {
			d.log.InfoContext(ctx, "migrated PostgreSQL", "migration", m.Name)
		}
	}
	d.ready.Store(err == nil)
	return err
}

// migrated reports whether a migration was ever applied.
func (d *DB) migrated(ctx context.Context) (there bool, err error) {
	err = d.pool.QueryRow(ctx, `SELECT to_regclass($1) IS NOT NULL`, migrationsTable).Scan(&there)
	if err != nil {
		err = d.readError(ctx, err)
	}
	return there, err
}

// pending reports whether a migration is not applied. Unlike goose, it changes nothing, so that a user without the right
// to make tables can ask.
func (d *DB) pending(ctx context.Context) (bool, error) {
	ctx, cancel := timed(ctx)
	defer cancel()
	files, err := migrations.ReadDir("migrations")
	if err != nil {
		return false, err
	}
	if there, err := d.migrated(ctx); err != nil || !there { // which does not say that PostgreSQL can be used
		return true, err
	}
	var applied int
	err = d.pool.QueryRow(ctx, `SELECT count(DISTINCT version_id) FROM arrakis.migrations WHERE version_id > 0 AND is_applied`).Scan(&applied)
	return applied < len(files), d.readError(ctx, err)
}
