package record_test

import (
	"errors"
	"strings"
	"sync"
	"testing"

	"github.com/redis/go-redis/v9"

	"arrakis/loadtest/testserver"
	"arrakis/tenant"
	"arrakis/tenant/record"
	"arrakis/tenant/store"
)

// TestWriteReachesRedis: what a writer has written is in Redis when it returns, and its version is the ETag of both.
func TestWriteReachesRedis(t *testing.T) {
	t.Parallel()
	testserver.BothRedises(t, func(t *testing.T, addr string) {
		rdb := testserver.ConnectRedis(t, addr)
		s, d := newRunning(t, rdb)
		_, v, err := s.Put(t.Context(), "acme", tenant.Config{Tier: tenant.Pro}, store.PutOptions{})
		if err != nil {
			t.Fatal(err)
		}
		loaded, err := s.Load(t.Context(), []string{"acme"})
		if err != nil || loaded[0].Tier != tenant.Pro {
			t.Fatalf("loaded from Redis: %+v, %v", loaded, err)
		}
		if _, got, err := s.Get(t.Context(), "acme"); err != nil || got != v {
			t.Errorf("PostgreSQL has version %s, %v, want %s", got, err, v)
		}
		page, err := s.List(t.Context(), store.ListOptions{})
		if err != nil || len(page.Entries) != 1 || page.Entries[0].Version != v {
			t.Errorf("Redis has %+v, %v, want version %s", page.Entries, err, v)
		}
		if _, _, err := s.Put(t.Context(), "acme", tenant.Config{Tier: tenant.Free}, store.PutOptions{IfMatch: "1"}); !errors.Is(err, store.ErrConflict) {
			t.Errorf("a write with another version: %v", err)
		}
		if err := s.Delete(t.Context(), "acme", v); err != nil {
			t.Fatal(err)
		}
		if n := rdb.Exists(t.Context(), store.ConfigKey("acme")).Val(); n != 0 {
			t.Error("the deleted config is in Redis")
		}
		if _, again, err := s.Put(t.Context(), "acme", tenant.Config{Tier: tenant.Free}, store.PutOptions{}); err != nil || again <= v {
			t.Errorf("made again with version %s, %v, want one after %s", again, err, v)
		}
		wantNoDrift(t, d, s.Mirror())
	})
}

// TestEmptyRedisIsFilled: Run fills a Redis that has lost everything, and says whose copies it has.
func TestEmptyRedisIsFilled(t *testing.T) {
	t.Parallel()
	rdb := testserver.Redis(t).Client(t)
	s, d := newRunning(t, rdb)
	if _, _, err := s.UpgradeTier(t.Context(), "acme", tenant.Enterprise); err != nil {
		t.Fatal(err)
	}
	owner := rdb.Get(t.Context(), store.RecordKey).Val()
	rdb.FlushAll(t.Context())
	testserver.Eventually(t, "Redis is filled", func() bool { return rdb.Get(t.Context(), store.RecordKey).Val() == owner })
	wantNoDrift(t, d, s.Mirror())
	if rdb.Exists(t.Context(), store.ConfigKey("acme")).Val() != 1 {
		t.Error("the config is not in Redis")
	}
}

// TestOneConnection: a URL that asks for a single connection does not make whoever fills Redis wait for itself.
func TestOneConnection(t *testing.T) {
	t.Parallel()
	rdb := testserver.Redis(t).Client(t)
	s, _ := runningAt(t, rdb, testserver.PostgresDatabase(t)+"&pool_max_conns=1")
	if _, _, err := s.UpgradeTier(t.Context(), "acme", tenant.Enterprise); err != nil {
		t.Fatal(err)
	}
	rdb.FlushAll(t.Context())
	testserver.Eventually(t, "Redis is filled", func() bool { return rdb.Exists(t.Context(), store.ConfigKey("acme")).Val() == 1 })
}

// TestAudit: a change is in the audit log with all that is known of it, also one that is not a document's and was
// recorded in Redis.
func TestAudit(t *testing.T) {
	t.Parallel()
	rdb := testserver.Redis(t).Client(t)
	s, _ := newRunning(t, rdb)
	origin := store.Origin{Actor: "api:ada", From: "192.0.2.1", RequestID: "r1"}
	ctx := store.WithOrigin(t.Context(), origin)
	if _, _, err := s.UpgradeTier(ctx, "acme", tenant.Pro); err != nil {
		t.Fatal(err)
	}
	if err := s.NotifyReset(ctx, "acme"); err != nil {
		t.Fatal(err)
	}
	var entries []store.AuditEntry
	testserver.Eventually(t, "both changes are in PostgreSQL", func() bool {
		page, err := s.Audit(t.Context(), store.AuditQuery{Targets: []string{"acme"}})
		entries = page.Entries
		return err == nil && len(entries) == 2
	})
	for i, want := range []store.AuditType{store.AuditReset, store.AuditTenant} {
		if e := entries[i]; e.Type != want || e.Origin != origin || e.After.Text == "" {
			t.Errorf("entry %d: %+v", i, e)
		}
	}
	testserver.Eventually(t, "Redis is rid of what PostgreSQL has", func() bool {
		n, err := rdb.XLen(t.Context(), store.AuditKey).Result()
		return err == nil && n == 0
	})
	var all []store.AuditEntry
	q := store.AuditQuery{Limit: 1}
	for range 3 {
		page, err := s.Audit(t.Context(), q)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, page.Entries...)
		if q.Cursor = page.Cursor; q.Cursor == "" {
			break
		}
	}
	if len(all) != 2 || all[0].ID != entries[0].ID || all[1].ID != entries[1].ID {
		t.Errorf("pages of one entry have %+v", all)
	}
}

// TestTogetherMigrate: of several processes that start at once, each finds the tables as it needs them.
func TestTogetherMigrate(t *testing.T) {
	t.Parallel()
	url := testserver.PostgresDatabase(t)
	known, err := open(t, url).Migrations(t.Context())
	if err != nil || len(known) == 0 || known[0].Version != 1 || known[0].AppliedAt != nil {
		t.Fatalf("before, the migrations are %+v, %v", known, err)
	}
	made := true
	err = testserver.ConnectPostgres(t, url).QueryRow(t.Context(), `SELECT EXISTS (SELECT FROM pg_namespace WHERE nspname = 'arrakis')`).Scan(&made)
	if err != nil || made {
		t.Errorf("to ask for the migrations has made the schema: %t, %v", made, err)
	}
	var wg sync.WaitGroup
	applied := make(chan int, 8)
	for range cap(applied) {
		d := open(t, url)
		wg.Go(func() {
			done, err := d.Migrate(t.Context())
			if err != nil {
				t.Error(err)
			}
			applied <- len(done)
		})
	}
	wg.Wait()
	close(applied)
	total := 0
	for n := range applied {
		total += n
	}
	all, err := open(t, url).Migrations(t.Context())
	if err != nil || total != len(known) || len(all) != len(known) {
		t.Errorf("%d migrations were applied, want %d; %v", total, len(known), err)
	}
	for i, m := range all {
		if m.AppliedAt == nil || m.Name != known[i].Name || m.Version != known[i].Version {
			t.Errorf("%+v was %+v before", m, known[i])
		}
	}
}

// TestNotAdopted: a new database does not take over a Redis that has documents, and none is changed in either meanwhile
// by whoever thinks that PostgreSQL has them.
func TestNotAdopted(t *testing.T) {
	t.Parallel()
	rdb := testserver.Redis(t).Client(t)
	alone := store.New(rdb, store.Options{})
	if _, _, err := alone.UpgradeTier(t.Context(), "acme", tenant.Enterprise); err != nil {
		t.Fatal(err)
	}
	rdb.ConfigResetStat(t.Context())
	d := open(t, testserver.PostgresDatabase(t))
	s := newStore(rdb, d)
	run(t, d, s.Mirror())
	testserver.Eventually(t, "it has looked at Redis", func() bool { return errors.Is(d.Check(t.Context()), store.ErrElsewhere) })
	if stats := rdb.Info(t.Context(), "commandstats").Val(); !strings.Contains(stats, "cmdstat_scan") || strings.Contains(stats, "cmdstat_set") {
		t.Errorf("it has not looked, or has claimed Redis for a moment, in which others were refused:\n%s", stats)
	}
	var err error
	testserver.Eventually(t, "a change is refused", func() bool {
		_, _, err = s.UpgradeTier(t.Context(), "acme", tenant.Free)
		return errors.Is(err, store.ErrElsewhere)
	})
	if c, _, err := s.Get(t.Context(), "acme"); err != nil || c.Tier != tenant.Enterprise {
		t.Errorf("the config in force: %+v, %v", c, err)
	}
	if _, _, err = alone.UpgradeTier(t.Context(), "acme", tenant.Pro); err != nil {
		t.Errorf("a change of Redis: %v", err)
	}
}

// TestMove moves documents to PostgreSQL, where they are changed, and back.
func TestMove(t *testing.T) {
	t.Parallel()
	testserver.EveryRedis(t, func(t *testing.T, rdb redis.UniversalClient) {
		alone := store.New(rdb, store.Options{})
		if _, _, err := alone.UpgradeTier(t.Context(), "acme", tenant.Enterprise); err != nil {
			t.Fatal(err)
		}
		if _, _, err := alone.PutFlag(t.Context(), tenant.Flag{ID: "dark"}, store.PutOptions{}); err != nil {
			t.Fatal(err)
		}
		d := open(t, testserver.PostgresDatabase(t))
		s := newStore(rdb, d)
		m := s.Mirror()
		for range 2 { // the first has not made the tables
			if _, err := d.MoveFromRedis(t.Context(), m, record.MoveOptions{DryRun: true}); err == nil || !strings.Contains(err.Error(), "arrakis migrate up") {
				t.Fatalf("dry run without tables: %v", err)
			}
		}
		if _, err := d.Migrate(t.Context()); err != nil {
			t.Fatal(err)
		}
		dry, err := d.MoveFromRedis(t.Context(), m, record.MoveOptions{DryRun: true})
		if err != nil || dry.Documents[store.KindTenant] != 1 || dry.Documents[store.KindFlag] != 1 || dry.Changed != 2 {
			t.Fatalf("dry run: %+v, %v", dry, err)
		}
		moved, err := d.MoveFromRedis(t.Context(), m, record.MoveOptions{})
		if err != nil || !moved.Verified || moved.Changed != 2 {
			t.Fatalf("move: %+v, %v", moved, err)
		}
		if page, err := d.Audit(t.Context(), store.AuditQuery{}); err != nil || len(page.Entries) != 2 {
			t.Errorf("the audit log has not come along: %+v, %v", page.Entries, err)
		}
		if _, err := alone.Audit(t.Context(), store.AuditQuery{}); !errors.Is(err, store.ErrElsewhere) || !strings.Contains(err.Error(), "set POSTGRES_URL") {
			t.Errorf("the audit log of Redis after the move: %v", err)
		}
		if _, _, err := alone.UpgradeTier(t.Context(), "acme", tenant.Free); !errors.Is(err, store.ErrElsewhere) {
			t.Errorf("a change of Redis after the move: %v", err)
		}
		run(t, d, m)
		if _, _, err := s.UpgradeTier(t.Context(), "acme", tenant.Pro); err != nil {
			t.Fatal(err)
		}
		if err := s.DeleteFlag(t.Context(), "dark", ""); err != nil {
			t.Fatal(err)
		}
		wantNoDrift(t, d, m)

		if back, err := d.MoveToRedis(t.Context(), m, record.MoveOptions{}); err != nil || !back.Verified {
			t.Fatalf("move back: %+v, %v", back, err)
		}
		if _, _, err := s.UpgradeTier(t.Context(), "acme", tenant.Free); !errors.Is(err, store.ErrElsewhere) {
			t.Errorf("a change of PostgreSQL after the move: %v", err)
		}
		c, v, err := alone.Get(t.Context(), "acme")
		if err != nil || c.Tier != tenant.Pro {
			t.Fatalf("in Redis: %+v, %v", c, err)
		}
		if _, _, err := alone.Put(t.Context(), "acme", c, store.PutOptions{IfMatch: v}); err != nil {
			t.Errorf("a change of Redis: %v", err)
		}
		if _, _, err := alone.UpgradeTier(t.Context(), "other", tenant.Pro); err != nil {
			t.Errorf("a change of Redis: %v", err)
		}
		if err := alone.Delete(t.Context(), "acme", ""); err != nil {
			t.Fatal(err)
		}

		again, err := d.MoveFromRedis(t.Context(), m, record.MoveOptions{})
		if err != nil || !again.Verified || again.Changed != 1 || again.Deleted != 1 {
			t.Errorf("the second move: %+v, %v", again, err)
		}
	})
}

// TestStrictIsolation: no edit fails in a database whose transactions are stricter than PostgreSQL's default.
func TestStrictIsolation(t *testing.T) {
	t.Parallel()
	rdb := testserver.Redis(t).Client(t)
	s, d := runningAt(t, rdb, testserver.PostgresDatabase(t)+"&default_transaction_isolation=serializable")
	var wg sync.WaitGroup
	for i := range 10 {
		wg.Go(func() {
			for range 5 {
				if _, _, err := s.UpgradeTier(t.Context(), "acme", []tenant.Tier{tenant.Pro, tenant.Enterprise}[i%2]); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	wantNoDrift(t, d, s.Mirror())
}

// TestMigrateDownRefused: a user who may not drop tables is told so.
func TestMigrateDownRefused(t *testing.T) {
	t.Parallel()
	url := testserver.PostgresDatabase(t)
	if _, err := open(t, url).Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	done, err := open(t, url+"&default_transaction_read_only=on").MigrateDown(t.Context())
	if !errors.Is(err, store.ErrAway) || len(done) != 0 {
		t.Errorf("taken back %+v, %v", done, err)
	}
}

// TestMigrateDownKeepsTenants: the tables are not dropped while they are all that has the tenants for good.
func TestMigrateDownKeepsTenants(t *testing.T) {
	t.Parallel()
	url := testserver.PostgresDatabase(t)
	d, conn := open(t, url), testserver.ConnectPostgres(t, url)
	for state, refused := range map[string]bool{"new": false, "active": true, "moving_in": true, "moving_out": true, "moved": false} {
		if _, err := d.Migrate(t.Context()); err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Exec(t.Context(), "UPDATE arrakis.record SET state = $1", state); err != nil {
			t.Fatal(err)
		}
		done, err := d.MigrateDown(t.Context())
		if (len(done) == 0) != refused {
			t.Errorf("%s: taken back %+v, %v", state, done, err)
		}
		if told := err != nil && strings.Contains(err.Error(), "run `arrakis tenant move --from postgres --to redis` first"); told != refused {
			t.Errorf("%s: %v", state, err)
		}
	}
}
