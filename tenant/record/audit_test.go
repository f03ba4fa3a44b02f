package record_test

import (
	"crypto/rand"
	"errors"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/redis/go-redis/v9"

	"arrakis/loadtest/testserver"
	"arrakis/tenant/store"
)

// TestHostileAudit: what others have put into the log of Redis does not keep the rest of it from PostgreSQL.
func TestHostileAudit(t *testing.T) {
	t.Parallel()
	rdb := testserver.Redis(t).Client(t)
	s, _ := newRunning(t, rdb)
	var long strings.Builder // which no index can compress
	for long.Len() < store.MaxAudited {
		long.WriteString(rand.Text() + "é")
	}
	// The time of the last one is that of its ID.
	for _, id := range []string{"*", "9223372036854775806-1", "18446744073709551615-1"} {
		values := map[string]any{"before": strings.Repeat("[", 2000) + strings.Repeat("]", 2000), "after": "\x00\xff"}
		for _, name := range []string{"type", "target", "actor", "from", "request_id", "source"} {
			values[name] = "\x00\xff" + long.String()
		}
		if err := rdb.XAdd(t.Context(), &redis.XAddArgs{Stream: store.AuditKey, ID: id, Values: values}).Err(); err != nil {
			t.Fatal(err)
		}
	}
	var page store.AuditPage
	testserver.Eventually(t, "the entries are in PostgreSQL", func() bool {
		var err error
		page, err = s.Audit(t.Context(), store.AuditQuery{})
		return err == nil && len(page.Entries) == 3
	})
	for _, e := range page.Entries {
		if !strings.HasPrefix(long.String(), e.Target) || len(e.Target) < 500 {
			t.Errorf("the target is %q", e.Target)
		}
	}
	rest, err := s.Audit(t.Context(), store.AuditQuery{Limit: 1})
	if err != nil || rest.Cursor == "" {
		t.Fatalf("a page: %+v, %v", rest, err)
	}
	if rest, err = s.Audit(t.Context(), store.AuditQuery{Cursor: rest.Cursor}); err != nil || len(rest.Entries) != 2 {
		t.Errorf("the pages behind it: %d entries, %v", len(rest.Entries), err)
	}
}

// TestSlowAudit: that the audit log is slow to read does not keep anybody from changing documents.
func TestSlowAudit(t *testing.T) {
	t.Parallel()
	url := testserver.PostgresDatabase(t)
	d := open(t, url)
	if _, err := d.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := testserver.ConnectPostgres(t, url).Exec(t.Context(), "BEGIN; LOCK TABLE arrakis.audit", pgx.QueryExecModeSimpleProtocol); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Audit(t.Context(), store.AuditQuery{}); !errors.Is(err, store.ErrAway) {
		t.Errorf("Audit: %v", err)
	}
	if _, err := d.Read(t.Context(), store.Name{Kind: store.KindTiers}); errors.Is(err, store.ErrAway) {
		t.Errorf("Read: %v", err)
	}
}
