package record_test

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"arrakis/loadtest/testserver"
	"arrakis/tenant"
	"arrakis/tenant/record"
	"arrakis/tenant/store"
)

// TestAnotherDatabase: what is changed in a database whose copies Redis does not have would never come into force. So
// nothing can be changed there, and Check says why.
func TestAnotherDatabase(t *testing.T) {
	t.Parallel()
	url := testserver.PostgresDatabase(t)
	first := open(t, url)
	run(t, first, newStore(testserver.Redis(t).Client(t), first).Mirror())
	awaitUse(t, first)

	rdb := testserver.Redis(t).Client(t)
	s, second := newRunning(t, rdb)
	testserver.Eventually(t, "Redis has the second database's documents", func() bool { return second.Check(t.Context()) == nil })

	wrong := open(t, url) // the first database, with the Redis of the second
	ws := newStore(rdb, wrong)
	if err := wrong.CheckMirror(t.Context(), ws.Mirror()); !errors.Is(err, store.ErrElsewhere) {
		t.Errorf("the mirror of another database: %v", err)
	}
	if err := second.CheckMirror(t.Context(), s.Mirror()); err != nil {
		t.Errorf("its own mirror: %v", err)
	}
	run(t, wrong, ws.Mirror())
	testserver.Eventually(t, "it is found", func() bool { return errors.Is(wrong.Check(t.Context()), store.ErrElsewhere) })
	if _, _, err := ws.UpgradeTier(t.Context(), "acme", tenant.Pro); !errors.Is(err, store.ErrElsewhere) || !strings.Contains(err.Error(), "another database") {
		t.Errorf("a write: %v", err)
	}
	if _, _, err := s.UpgradeTier(t.Context(), "acme", tenant.Pro); err != nil {
		t.Errorf("a write to the database whose copies Redis has: %v", err)
	}
	wantNoDrift(t, second, s.Mirror())
}

// TestWaitingChangesAreSeen: while changes do not reach Redis, the age of the oldest grows, and Check says that they do not.
func TestWaitingChangesAreSeen(t *testing.T) {
	t.Parallel()
	server, registry := testserver.Redis(t), prometheus.NewRegistry()
	d, err := record.Open(t.Context(), record.Options{URL: testserver.PostgresDatabase(t), Registerer: registry})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.Close)
	s := newStore(server.Client(t), d)
	run(t, d, s.Mirror())
	awaitUse(t, d)
	server.Kill()
	testserver.Eventually(t, "the change is written", func() bool {
		_, err := s.PutTiers(t.Context(), tenant.Tiers{}, store.PutOptions{})
		return err == nil
	})
	for _, more := range []float64{0, 0.5} { // it grows
		testserver.Eventually(t, "the change is seen to wait", func() bool { return value(t, registry, "arrakis_record_waiting_seconds") > more })
	}
	if err := d.Check(t.Context()); err == nil || errors.Is(err, store.ErrAway) {
		t.Errorf("Check: %v, want that changes do not reach Redis", err)
	}
	server.Start()
	testserver.Eventually(t, "no change waits", func() bool {
		return value(t, registry, "arrakis_record_waiting_seconds") == 0 && d.Check(t.Context()) == nil
	})
}

// value is that of a metric without labels.
func value(t *testing.T, g prometheus.Gatherer, name string) float64 {
	t.Helper()
	families, err := g.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == name {
			return f.GetMetric()[0].GetGauge().GetValue()
		}
	}
	t.Fatalf("there is no metric %s", name)
	return 0
}

// TestUnusableDatabase: a PostgreSQL that answers, but does not let the user do what must be done, is found, and logged once.
func TestUnusableDatabase(t *testing.T) {
	t.Parallel()
	url := testserver.PostgresDatabase(t)
	admin := testserver.ConnectPostgres(t, url)
	user := "nobody_" + admin.Config().Database
	if _, err := admin.Exec(t.Context(), "CREATE ROLE "+user+" LOGIN"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = admin.Exec(context.Background(), "DROP ROLE "+user) }) // it owns nothing
	var logged testserver.Output
	d, err := record.Open(t.Context(), record.Options{
		URL: strings.Replace(url, "arrakis@", user+"@", 1), Logger: slog.New(slog.NewTextHandler(&logged, nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.Close)
	run(t, d, newStore(testserver.Redis(t).Client(t), d).Mirror())
	for range 3 { // rounds
		testserver.Eventually(t, "the database cannot be used", func() bool { return errors.Is(d.Check(t.Context()), store.ErrAway) })
		if err := d.Ping(t.Context()); err != nil {
			t.Errorf("it does not answer: %v", err)
		}
		if _, err := d.Migrate(t.Context()); !errors.Is(err, store.ErrAway) || !strings.Contains(err.Error(), "permission denied") || !strings.Contains(err.Error(), "docs/postgres.md") {
			t.Errorf("Migrate: %v", err)
		}
	}
	if n := strings.Count(logged.String(), "PostgreSQL is away"); n != 1 {
		t.Errorf("that it is away is logged %d times:\n%s", n, logged.String())
	}
}

// TestAwaySaysWhy: whoever is refused because PostgreSQL is away is told why, once, also if it was not asked again for that.
func TestAwaySaysWhy(t *testing.T) {
	t.Parallel()
	d := open(t, "postgres://user:secret@127.0.0.1:1/none") // with TLS, and then without
	for range 2 {
		_, err := d.Read(t.Context(), store.Name{Kind: store.KindTenant, ID: "c1"})
		if !errors.Is(err, store.ErrAway) || strings.Count(err.Error(), "connection refused") != 1 || strings.Contains(err.Error(), "secret") {
			t.Errorf("Read: %v", err)
		}
	}
	if err := d.Ping(t.Context()); err == nil || strings.Count(err.Error(), "connection refused") != 1 {
		t.Errorf("Ping: %v", err)
	}
}
