package record_test

import (
	"testing"

	"arrakis/loadtest/testserver"
	"arrakis/tenant"
	"arrakis/tenant/record"
	"arrakis/tenant/store"
)

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
	d := open(t, url)
	s := newStore(rdb, d)
	run(t, d, s.Mirror())
	awaitUse(t, d)
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
