package record_test

import (
	"errors"
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
	_, err := d.MoveToRedis(t.Context(), s.Mirror(), record.MoveOptions{Compared: func(int, int) { rdb.FlushAll(t.Context()) }})
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

// Whoever waited to give Redis what PostgreSQL has, while tenants were moved to Redis, does not do it any more: Redis may
// have been changed since.
func TestRepairsBesideAMove(t *testing.T) {
	t.Parallel()
	for name, repair := range map[string]func(*record.DB, store.Mirror) error{
		"rebuild": func(d *record.DB, m store.Mirror) error {
			_, err := d.Rebuild(t.Context(), m, nil)
			return err
		},
		"reconcile": func(d *record.DB, m store.Mirror) error {
			_, err := d.Compare(t.Context(), m, record.CompareOptions{Repair: record.RepairBehind})
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, testserver.PostgresDatabase(t))
			st := s.relayAt(t, s.url, beforeDelete, func() error { return nil })
			if _, _, err := st.UpgradeTier(t.Context(), "acme", tenant.Pro); err != nil {
				t.Fatal(err)
			}
			conn := s.settled(t)
			if _, err := conn.Exec(t.Context(), "SELECT pg_advisory_lock($1)", record.RebuildLock); err != nil {
				t.Fatal(err)
			}
			done := make(chan error, 1)
			d := open(t, s.url)
			go func() { done <- repair(d, st.Mirror()) }()
			testserver.Eventually(t, "it waits for the lock", func() bool {
				var waits bool
				err := conn.QueryRow(t.Context(), `SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND NOT granted
					AND database = (SELECT oid FROM pg_database WHERE datname = current_database()))`).Scan(&waits)
				return err == nil && waits
			})
			rdb := s.redis.Client(t)
			if _, err := conn.Exec(t.Context(), "UPDATE arrakis.record SET state = 'moved'"); err != nil {
				t.Fatal(err)
			}
			rdb.Del(t.Context(), store.RecordKey, store.ConfigKey("acme"))
			if _, err := conn.Exec(t.Context(), "SELECT pg_advisory_unlock($1)", record.RebuildLock); err != nil {
				t.Fatal(err)
			}
			if err := <-done; !errors.Is(err, store.ErrElsewhere) {
				t.Errorf("%v, want that the tenants are elsewhere", err)
			}
			if n := rdb.Exists(t.Context(), store.RecordKey, store.ConfigKey("acme")).Val(); n != 0 {
				t.Error("Redis has what was deleted there")
			}
		})
	}
}
