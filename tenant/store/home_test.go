package store_test

import (
	"bytes"
	"context"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/redis/go-redis/v9"

	"arrakis/loadtest/testserver"
	"arrakis/tenant"
	"arrakis/tenant/record"
	"arrakis/tenant/store"
)

// home is where a test keeps its tenants: Redis alone, or PostgreSQL, whose relay gives Redis copies.
type home struct {
	rdb  redis.UniversalClient
	db   *record.DB // nil: Redis alone
	conn *pgx.Conn  // to the database of db, for the goroutine of the test
}

// everyHome runs a test on each home, as parallel subtests: on every Redis alone, and on PostgreSQL with one kind of
// Redis. Tests of what Redis does, or has, run on every Redis only.
func everyHome(t *testing.T, test func(t *testing.T, h home)) {
	t.Helper()
	testserver.EveryRedis(t, func(t *testing.T, rdb redis.UniversalClient) { test(t, home{rdb: rdb}) })
	t.Run("postgres", func(t *testing.T) {
		t.Parallel()
		test(t, postgresHome(t))
	})
}

// postgresHome is an empty database whose relay runs until the test ends.
func postgresHome(t *testing.T) home {
	t.Helper()
	rdb := testserver.ConnectRedis(t, testserver.Redis(t).Addr())
	url := testserver.PostgresDatabase(t)
	db, err := record.Open(t.Context(), record.Options{URL: url, RelayWait: 5 * time.Second, Logger: slog.New(slog.NewTextHandler(t.Output(), nil))})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(db.Close)
	if _, err := db.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := db.Run(ctx, store.New(rdb, store.Options{}).Mirror()); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() { cancel(); wg.Wait() })
	testserver.Succeeds(t, "PostgreSQL is the system of record", func() error {
		_, err := db.Read(t.Context(), store.Name{Kind: store.KindTiers})
		return err
	})
	return home{rdb: rdb, db: db, conn: testserver.ConnectPostgres(t, url)}
}

// store makes a store that logs to the returned buffer, for one goroutine.
func (h home) store() (*store.Store, *bytes.Buffer) {
	var log bytes.Buffer
	o := store.Options{Source: "test", Logger: slog.New(slog.NewTextHandler(&log, nil))}
	if h.db != nil { // else it would be an interface that is not nil
		o.SystemOfRecord = h.db
	}
	return store.New(h.rdb, o), &log
}

func (h home) setTenant(t *testing.T, id, text string) {
	t.Helper()
	h.set(t, store.Name{Kind: store.KindTenant, ID: id}, text)
}

func (h home) setAccount(t *testing.T, id, text string) {
	t.Helper()
	h.set(t, store.Name{Kind: store.KindAccount, ID: id}, text)
}

// set stores the text of a document that is not a flag, as another writer does.
func (h home) set(t *testing.T, n store.Name, text string) {
	t.Helper()
	if h.db == nil {
		set(t, h.rdb, n.String(), text)
		return
	}
	_, err := h.db.Write(t.Context(), store.Change{
		Name:   n,
		Decide: func(store.Stored, time.Time) (string, error) { return text, nil },
		Entry:  func(_, _ string) store.AuditEntry { return store.AuditEntry{Source: "other"} },
	})
	if err != nil {
		t.Fatal(err)
	}
}

// settle waits until Redis has all documents that were written, and PostgreSQL the whole audit log.
func (h home) settle(t *testing.T) {
	t.Helper()
	if h.db == nil {
		return
	}
	testserver.Eventually(t, "the relay has carried everything over", func() bool {
		var waiting int64
		if err := h.conn.QueryRow(t.Context(), "SELECT count(*) FROM arrakis.outbox").Scan(&waiting); err != nil {
			t.Fatal(err)
		}
		entries, err := h.rdb.XLen(t.Context(), store.AuditKey).Result()
		return err == nil && waiting+entries == 0
	})
}

// load reads a tenant as a worker does.
func (h home) load(t *testing.T, s *store.Store, id string) *tenant.Tenant {
	t.Helper()
	h.settle(t)
	return load(t, s, id)
}
