package record_test

import (
	"fmt"
	"log/slog"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"

	"arrakis/loadtest/testserver"
	"arrakis/tenant/record"
	"arrakis/tenant/store"
)

func TestMain(m *testing.M) {
	if os.Getenv(asRelayPostgres) != "" {
		fmt.Fprintln(os.Stderr, runAsRelay()) // this test binary is a process that a test has started
		os.Exit(2)
	}
	testserver.WaitTogether()
	goleak.VerifyTestMain(testserver.M{M: m})
}

// open makes a DB on a database.
func open(t *testing.T, url string) *record.DB {
	t.Helper()
	d, err := record.Open(t.Context(), record.Options{URL: url, RelayWait: 5 * time.Second, Logger: slog.New(slog.NewTextHandler(t.Output(), nil))})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.Close)
	return d
}

// newStore makes a store that changes documents in d.
func newStore(rdb redis.UniversalClient, d *record.DB) *store.Store {
	return store.New(rdb, store.Options{Source: "test", SystemOfRecord: d})
}

// run runs d until the test ends.
func run(t *testing.T, d *record.DB, m store.Mirror) {
	t.Helper()
	var wg sync.WaitGroup
	wg.Go(func() { _ = d.Run(t.Context(), m) }) // it is nil
	t.Cleanup(wg.Wait)
}

// awaitUse waits until documents can be changed in d.
func awaitUse(t *testing.T, d *record.DB) {
	t.Helper()
	testserver.Eventually(t, "documents can be changed in PostgreSQL", func() bool {
		_, err := d.Read(t.Context(), store.Name{Kind: store.KindTiers})
		return err == nil
	})
}

// newRunning makes a store on a new database that is in use.
func newRunning(t *testing.T, rdb redis.UniversalClient) (*store.Store, *record.DB) {
	t.Helper()
	return runningAt(t, rdb, testserver.PostgresDatabase(t))
}

// runningAt makes a store on the database at url, and waits until that is in use.
func runningAt(t *testing.T, rdb redis.UniversalClient, url string) (*store.Store, *record.DB) {
	t.Helper()
	d := open(t, url)
	s := newStore(rdb, d)
	run(t, d, s.Mirror())
	awaitUse(t, d)
	return s, d
}

// wantNoDrift fails the test if Redis does not have what PostgreSQL has.
func wantNoDrift(t *testing.T, d *record.DB, m store.Mirror) {
	t.Helper()
	report, err := d.Compare(t.Context(), m, record.CompareOptions{})
	if err != nil || report.Total() != 0 || report.Pending != 0 {
		t.Fatalf("drift: %+v, %v", report, err)
	}
}
