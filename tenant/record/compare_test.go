package record_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/jackc/pgx/v5"
	"github.com/redis/go-redis/v9"

	"arrakis/loadtest/testserver"
	"arrakis/tenant"
	"arrakis/tenant/record"
	"arrakis/tenant/store"
)

// wantDrift compares both sides, repairs as far as told, and fails the test if something else is found or repaired.
func wantDrift(t *testing.T, d *record.DB, m store.Mirror, repair record.Repair, want record.Report) {
	t.Helper()
	got, err := d.Compare(t.Context(), m, record.CompareOptions{Repair: repair})
	if diff := cmp.Diff(want, got, cmpopts.IgnoreFields(got, "Documents", "Kinds", "Named")); err != nil || diff != "" {
		t.Errorf("%v (-want +got)\n%s", err, diff)
	}
}

// TestDeletedStaysDeleted: a Redis that comes back with a tenant that was deleted meanwhile, as when it starts again with
// an older file, does not keep the tenant.
func TestDeletedStaysDeleted(t *testing.T) {
	t.Parallel()
	rdb := testserver.Redis(t).Client(t)
	s, d := newRunning(t, rdb)
	if _, _, err := s.UpgradeTier(t.Context(), "acme", tenant.Enterprise); err != nil {
		t.Fatal(err)
	}
	key := store.ConfigKey("acme")
	older := rdb.Get(t.Context(), key).Val()
	if err := s.Delete(t.Context(), "acme", ""); err != nil {
		t.Fatal(err)
	}
	rdb.Set(t.Context(), key, older, 0)
	rdb.Set(t.Context(), store.ConfigKey("other"), `{"tier":"pro"}`, 0) // which somebody has written, and nobody has deleted
	report, err := d.Compare(t.Context(), s.Mirror(), record.CompareOptions{Repair: record.RepairBehind})
	if err != nil || report.Drift[record.DriftOlder] != 1 || report.Drift[record.DriftExtra] != 1 || report.Repaired != 1 {
		t.Errorf("compared: %+v, %v", report, err)
	}
	if rdb.Exists(t.Context(), key).Val() != 0 {
		t.Error("the deleted tenant is in force again")
	}
}

// TestByHand: what somebody writes to PostgreSQL by hand reaches Redis as JSON, and what only a later release knows
// is left alone.
func TestByHand(t *testing.T) {
	t.Parallel()
	rdb := testserver.Redis(t).Client(t)
	url := testserver.PostgresDatabase(t)
	s, d := runningAt(t, rdb, url)
	conn := testserver.ConnectPostgres(t, url)
	if _, err := conn.Exec(t.Context(), `INSERT INTO arrakis.documents VALUES
		('tenant', 'acme', E'\n{\n  "communityId": "acme", "tier": "pro"}', 7, now()), ('plan', 'gold', '{}', 7, now())`); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Exec(t.Context(), `INSERT INTO arrakis.outbox (kind, id, source) VALUES ('plan', 'gold', 'test'), ('tenant', 'acme', 'test')`); err != nil {
		t.Fatal(err)
	}
	testserver.Eventually(t, "the tenant is in Redis", func() bool {
		c, err := s.Load(t.Context(), []string{"acme"})
		return err == nil && c[0].Tier == tenant.Pro
	})
	wantNoDrift(t, d, s.Mirror())
	if _, err := conn.Exec(t.Context(), `UPDATE arrakis.documents SET doc = 'null'`); err == nil {
		t.Error("PostgreSQL keeps a document that is not an object")
	}
}

// PostgreSQL was restored from a backup that has documents which were deleted since. They stay deleted in Redis until
// somebody decides.
func TestBackupBeforeADeletion(t *testing.T) {
	t.Parallel()
	s := newSite(t, testserver.PostgresDatabase(t))
	st, d, conn := s.process(t, s.redis.Addr()), open(t, s.url), testserver.ConnectPostgres(t, s.url)
	if _, _, err := st.UpgradeTier(t.Context(), "acme", tenant.Enterprise); err != nil {
		t.Fatal(err)
	}
	if _, _, err := st.PutFlag(t.Context(), tenant.Flag{ID: "dark"}, store.PutOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Exec(t.Context(), `CREATE TABLE backup AS SELECT * FROM arrakis.documents`); err != nil {
		t.Fatal(err)
	}
	if err := st.Delete(t.Context(), "acme", ""); err != nil {
		t.Fatal(err)
	}
	if err := st.DeleteFlag(t.Context(), "dark", ""); err != nil {
		t.Fatal(err)
	}
	s.settled(t)
	if _, err := conn.Exec(t.Context(), `DELETE FROM arrakis.documents; INSERT INTO arrakis.documents SELECT * FROM backup`, pgx.QueryExecModeSimpleProtocol); err != nil {
		t.Fatal(err)
	}
	newer := map[record.Drift]int{record.DriftNewer: 2}
	wantDrift(t, d, st.Mirror(), record.RepairBehind, record.Report{Drift: newer})
	wantDrift(t, d, st.Mirror(), record.RepairAll, record.Report{Drift: newer, Repaired: 2})
	if tenants, err := st.Load(t.Context(), []string{"acme"}); err != nil || tenants[0].Tier != tenant.Enterprise {
		t.Errorf("%+v, %v", tenants, err)
	}
	wantNoDrift(t, d, st.Mirror())
}

// around is a hook of a client of Redis that calls a function before and after documents are read.
type around func()

func (around) DialHook(next redis.DialHook) redis.DialHook          { return next }
func (around) ProcessHook(next redis.ProcessHook) redis.ProcessHook { return next }

func (f around) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		if cmds[0].Name() != "get" {
			return next(ctx, cmds)
		}
		f()
		err := next(ctx, cmds)
		f()
		return err
	}
}

// TestChangedWhileCompared: a document is changed, and is in Redis, between any two looks at it. That is no drift.
func TestChangedWhileCompared(t *testing.T) {
	t.Parallel()
	s := newSite(t, testserver.PostgresDatabase(t))
	st := s.process(t, s.redis.Addr())
	changes := 4
	rdb := s.redis.Client(t)
	rdb.AddHook(around(func() {
		if changes--; changes < 0 {
			return
		}
		if _, _, err := st.UpgradeTier(t.Context(), "acme", []tenant.Tier{tenant.Pro, tenant.Enterprise}[changes%2]); err != nil {
			t.Error(err)
		}
	}))
	if _, _, err := st.UpgradeTier(t.Context(), "acme", tenant.Pro); err != nil {
		t.Fatal(err)
	}
	wantNoDrift(t, open(t, s.url), store.New(rdb, store.Options{}).Mirror())
	if changes > 0 {
		t.Errorf("%d changes were not made", changes)
	}
}

// TestRepairIsAnnounced: workers hear of a document that was repaired, also if Redis failed before it was announced.
func TestRepairIsAnnounced(t *testing.T) {
	t.Parallel()
	s := newSite(t, testserver.PostgresDatabase(t))
	st := s.process(t, s.redis.Addr())
	if _, _, err := st.UpgradeTier(t.Context(), edited[0], tenant.Pro); err != nil {
		t.Fatal(err)
	}
	d := open(t, s.url)
	rdb := s.redis.Client(t)
	rdb.Del(t.Context(), store.ConfigKey(edited[0]))
	w := watch(t, s.redis.Addr())
	var failed bool
	rdb.AddHook(&at{step: beforeAnnounce, do: func() error {
		if failed {
			return nil
		}
		failed = true
		return errors.New("Redis fails")
	}})
	m := store.New(rdb, store.Options{}).Mirror()
	if _, err := d.Compare(t.Context(), m, record.CompareOptions{Repair: record.RepairBehind}); err == nil || !strings.Contains(err.Error(), "`arrakis reload`") {
		t.Fatalf("the first comparison: %v", err)
	}
	if _, err := d.Compare(t.Context(), m, record.CompareOptions{Repair: record.RepairBehind}); err != nil {
		t.Fatalf("the second comparison: %v", err)
	}
	w.checkHeard(t)
}
