package testserver

import (
	"context"
	"fmt"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"
)

// ConnectPostgres returns a connection to the database of a URL. The connection ends with the test.
func ConnectPostgres(tb testing.TB, url string) *pgx.Conn {
	tb.Helper()
	c, err := pgx.Connect(tb.Context(), url)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = c.Close(context.Background()) }) // nothing is pending
	return c
}

// PostgresDatabase returns the URL of a new and empty database. It is dropped when the test ends. All databases of a
// package's tests are on one server, because a server of its own takes two seconds.
func PostgresDatabase(tb testing.TB) string {
	tb.Helper()
	return databases.add(tb)
}

// databases are the databases of the tests that run.
var databases sharedPostgres

// sharedPostgres is a PostgreSQL server that several tests use at the same time. It keeps nothing after a crash.
type sharedPostgres struct {
	mu     sync.Mutex // protects the fields below
	server *PostgresServer
	last   int // the number of the last database
}

// open starts the server, if no test has started it, and returns it with the name for a new database.
func (d *sharedPostgres) open(tb testing.TB) (s *PostgresServer, name string) {
	tb.Helper()
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.server == nil {
		d.server = newPostgres(tb, []string{"fsync=off", "full_page_writes=off"})
	}
	d.last++
	return d.server, fmt.Sprintf("test_%d", d.last)
}

func (d *sharedPostgres) add(tb testing.TB) (url string) {
	tb.Helper()
	s, name := d.open(tb)
	c := ConnectPostgres(tb, s.URL())
	if _, err := c.Exec(tb.Context(), "CREATE DATABASE "+name); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { // before the connection ends
		if _, err := c.Exec(context.Background(), "DROP DATABASE "+name+" WITH (FORCE)"); err != nil {
			tb.Errorf("drop the database: %v", err)
		}
	})
	return s.url(name)
}

// close ends the server, if a test has started it.
func (d *sharedPostgres) close() {
	if d.server != nil {
		d.server.Close()
	}
}
