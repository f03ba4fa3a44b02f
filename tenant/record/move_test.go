package record_test

import (
	"strings"
	"testing"

	"arrakis/loadtest/testserver"
	"arrakis/tenant"
	"arrakis/tenant/record"
	"arrakis/tenant/store"
)

// TestRedisLostDuringMove: a Redis that is emptied while it becomes the system of record does not become it, and is filled
// again.
func TestRedisLostDuringMove(t *testing.T) {
	t.Parallel()
	rdb := testserver.Redis(t).Client(t)
	s, d := newRunning(t, rdb)
	if _, _, err := s.UpgradeTier(t.Context(), "acme", tenant.Enterprise); err != nil {
		t.Fatal(err)
	}
	_, err := d.MoveToRedis(t.Context(), s.Mirror(), record.MoveOptions{Progress: func(int, int) { rdb.FlushAll(t.Context()) }})
	if err == nil || !strings.Contains(err.Error(), "Redis has lost its documents") {
		t.Errorf("move: %v", err)
	}
	awaitUse(t, d)
	testserver.Eventually(t, "Redis is filled", func() bool { return rdb.Exists(t.Context(), store.RecordKey).Val() == 1 })
	if c, _, err := s.UpgradeTier(t.Context(), "acme", tenant.Pro); err != nil || c.CreatedAt.IsZero() {
		t.Errorf("a change after the move: %+v, %v", c, err)
	}
	wantNoDrift(t, d, s.Mirror())
}

// TestMoveFromLostRedis: a move from a Redis that has nothing does not delete what PostgreSQL has of an earlier time.
func TestMoveFromLostRedis(t *testing.T) {
	t.Parallel()
	rdb := testserver.Redis(t).Client(t)
	url := testserver.PostgresDatabase(t)
	d := open(t, url)
	s := newStore(rdb, d)
	if _, _, err := store.New(rdb, store.Options{}).UpgradeTier(t.Context(), "acme", tenant.Enterprise); err != nil {
		t.Fatal(err)
	}
	if _, err := d.MoveFromRedis(t.Context(), s.Mirror(), record.MoveOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := d.MoveToRedis(t.Context(), s.Mirror(), record.MoveOptions{}); err != nil {
		t.Fatal(err)
	}
	rdb.FlushAll(t.Context())
	if _, err := d.MoveFromRedis(t.Context(), s.Mirror(), record.MoveOptions{}); err == nil || !strings.Contains(err.Error(), "still has 1 of an earlier time") {
		t.Fatalf("move: %v", err)
	}
	// What docs/postgres.md says for this.
	if _, err := testserver.ConnectPostgres(t, url).Exec(t.Context(), "UPDATE arrakis.record SET state = 'active'"); err != nil {
		t.Fatal(err)
	}
	if n, err := d.Rebuild(t.Context(), s.Mirror(), nil); err != nil || n != 1 {
		t.Fatalf("rebuild: %d documents, %v", n, err)
	}
	wantNoDrift(t, d, s.Mirror())
}
