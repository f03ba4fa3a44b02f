package testserver_test

import (
	"net"
	"strings"
	"testing"

	"arrakis/loadtest/testserver"
)

// query returns the text that a query of the database has for an answer.
func query(t *testing.T, url, sql string) (text string) {
	t.Helper()
	if err := testserver.ConnectPostgres(t, url).QueryRow(t.Context(), sql).Scan(&text); err != nil {
		t.Errorf("%s: %v", sql, err)
	}
	return text
}

// TestPostgresStartsAgain: a commit that was answered survives a crash, and what runs during the crash ends with it.
func TestPostgresStartsAgain(t *testing.T) {
	t.Parallel()
	s := testserver.Postgres(t)
	addr, c := s.Addr(), testserver.ConnectPostgres(t, s.URL())
	if _, err := c.Exec(t.Context(), "CREATE TABLE edits AS SELECT 'spice' AS what"); err != nil {
		t.Fatal(err)
	}
	running := make(chan error, 1)
	go func() {
		_, err := c.Exec(t.Context(), "WITH late AS (SELECT pg_sleep(60)) INSERT INTO edits SELECT 'late' FROM late")
		running <- err
	}()
	testserver.Eventually(t, "the query runs", func() bool {
		return query(t, s.URL(), "SELECT count(*)::text FROM pg_stat_activity WHERE wait_event = 'PgSleep'") == "1"
	})
	for range 2 {
		s.Kill()
		if c, err := net.Dial("tcp", addr); err == nil {
			t.Errorf("%s answers without a server", c.RemoteAddr())
			_ = c.Close()
		}
		s.Start()
		if got := query(t, s.URL(), "SELECT string_agg(what, ' ') FROM edits"); got != "spice" || s.Addr() != addr {
			t.Errorf("at %s, before at %s: %q", s.Addr(), addr, got)
		}
	}
	if err := <-running; err == nil {
		t.Error("the query has ended as if its server had not been killed")
	}
}

func TestPostgresSaysWhyItDoesNotStart(t *testing.T) {
	t.Parallel()
	testserver.Postgres(t) // is installed
	r := try(t, func(tb testing.TB) { testserver.Postgres(tb, "no_such_setting=1") })
	if !strings.Contains(r.failed, "the process has ended") || !strings.Contains(r.failed, "no_such_setting") {
		t.Errorf("failed with %q", r.failed)
	}
}

// TestPostgresDatabase: tests have databases of their own, which end with them.
func TestPostgresDatabase(t *testing.T) {
	t.Parallel()
	const databases = "SELECT coalesce(string_agg(datname, ' '), '') FROM pg_database WHERE datname LIKE 'test\\_%'"
	first := testserver.PostgresDatabase(t)
	var second string
	t.Run("another test", func(t *testing.T) {
		second = testserver.PostgresDatabase(t)
		if got := query(t, first, databases); first == second || len(strings.Fields(got)) != 2 {
			t.Errorf("%s and %s, and the server has %q", first, second, got)
		}
	})
	if got := query(t, first, databases); len(strings.Fields(got)) != 1 || !strings.HasSuffix(first, got+"?sslmode=disable") {
		t.Errorf("after the other test the server has %q, and this one %s", got, first)
	}
}
