package console

import (
	"net/http"
	"strings"
	"sync"
	"testing"

	"arrakis/loadtest/testserver"
	"arrakis/tenant/record"
	"arrakis/tenant/store"
)

// TestPostgresIsAway: pages show what Redis has, and say in words what is missing of the audit log.
func TestPostgresIsAway(t *testing.T) {
	t.Parallel()
	server, rdb := testserver.Postgres(t, "fsync=off"), testserver.ConnectRedis(t, testserver.Miniredis(t).Addr())
	db, err := record.Open(t.Context(), record.Options{URL: server.URL()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(db.Close)
	b := newBedOf(t, rdb, store.New(rdb, store.Options{Source: "test", SystemOfRecord: db}))
	var running sync.WaitGroup
	running.Go(func() { _ = db.Run(t.Context(), b.store.Mirror()) }) // it is nil
	t.Cleanup(running.Wait)
	testserver.Eventually(t, "documents can be changed", func() bool {
		_, err := db.Read(t.Context(), store.Name{Kind: store.KindTiers})
		return err == nil
	})
	b.put(t, "acme", `{"tier":"pro"}`)

	const changes, page = "/changes?type=tenant", "Accept: text/html"
	if r := b.ask(t, http.MethodGet, changes, ""); r.status != http.StatusOK || !strings.Contains(textOf(r.body), "acme") {
		t.Errorf("changes: %d %s", r.status, textOf(r.body))
	}
	server.Kill()
	for _, path := range []string{changes, "/changes"} {
		r := b.ask(t, http.MethodGet, path, "")
		if text := textOf(r.body); r.status != http.StatusServiceUnavailable || !strings.Contains(text, "PostgreSQL, which has the audit log, does not answer.") {
			t.Errorf("%s without PostgreSQL: %d %s", path, r.status, text)
		}
	}
	for _, path := range []string{"/tenants/acme", "/accounts/acme"} {
		r := b.ask(t, http.MethodGet, path, "")
		if text := textOf(r.body); r.status != http.StatusOK || !strings.Contains(text, "PostgreSQL does not answer: nothing can be changed") {
			t.Errorf("%s without PostgreSQL: %d %s", path, r.status, text)
		}
	}
	server.Start()
	testserver.Eventually(t, "the changes are shown again", func() bool { return b.ask(t, http.MethodGet, changes, "").status == http.StatusOK })
}

// TestChangesAreElsewhere: a worker without POSTGRES_URL does not show the few entries that wait in Redis as the audit log.
func TestChangesAreElsewhere(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	b.put(t, "acme", `{"tier":"pro"}`)
	if err := b.redis.Set(t.Context(), store.RecordKey, "0d96d100-5f64-4cfa-af4c-71f09db57d34", 0).Err(); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]int{"/changes": http.StatusServiceUnavailable, "/tenants/acme": http.StatusOK} {
		r := b.ask(t, http.MethodGet, path, "")
		if text := textOf(r.body); r.status != want || !strings.Contains(text, "POSTGRES_URL") {
			t.Errorf("%s: %d %s", path, r.status, text)
		}
	}
}
