package record_test

import (
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"arrakis/loadtest/testserver"
	"arrakis/tenant/store"
)

// TestNoConnectionIsFree: a writer that was never given a connection knows that nothing is stored.
func TestNoConnectionIsFree(t *testing.T) {
	t.Parallel()
	url := testserver.PostgresDatabase(t)
	d, conn := open(t, url+"&pool_max_conns=2"), testserver.ConnectPostgres(t, url)
	if _, err := d.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Exec(t.Context(), "UPDATE arrakis.record SET state = 'active'"); err != nil {
		t.Fatal(err)
	}
	write := func(id string, beforehand func()) error {
		_, err := d.Write(t.Context(), store.Change{
			Name:   store.Name{Kind: store.KindTenant, ID: id},
			Decide: func(store.Stored, time.Time) (string, error) { beforehand(); return "{}", nil },
			Entry:  func(string, string) store.AuditEntry { return store.AuditEntry{Type: store.AuditTenant} },
		})
		return err
	}
	var wg sync.WaitGroup
	defer wg.Wait()
	err := write("late", func() {
		if _, err := conn.Exec(t.Context(), "BEGIN; LOCK TABLE arrakis.outbox", pgx.QueryExecModeSimpleProtocol); err != nil {
			t.Error(err)
		}
		for _, id := range []string{"first", "second"} {
			wg.Go(func() { _ = write(id, func() {}) }) // it waits for the lock
		}
		testserver.Eventually(t, "both connections are taken", func() bool {
			var waiting int
			err := testserver.ConnectPostgres(t, url).QueryRow(t.Context(), `SELECT count(*) FROM pg_locks WHERE NOT granted
				AND database = (SELECT oid FROM pg_database WHERE datname = current_database())`).Scan(&waiting)
			return err == nil && waiting == 2
		})
	})
	if !errors.Is(err, store.ErrAway) || errors.Is(err, store.ErrUncertain) {
		t.Errorf("Write: %v", err)
	}
}
