package record

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"

	"arrakis/tenant/store"
)

const (
	// maxConnections is how many connections a process opens, unless the URL says it (pool_max_conns).
	maxConnections = 8
	// minConnections is how many it opens at least: one holds the lock of whoever fills Redis or compares, while that one
	// reads on another.
	minConnections = 2
	// answerTimeout bounds the wait for an answer of PostgreSQL to a writer or reader.
	answerTimeout = 5 * time.Second
	// patience bounds the wait for an answer about many documents or entries.
	patience = time.Minute
	// keepAlive is how often a connection is tried on which nothing comes. One that does not answer nine times is closed, also
	// while another process is waited for, which nothing else bounds.
	keepAlive = 10 * time.Second
	// closeTimeout bounds the wait for connections to be closed.
	closeTimeout = time.Second
	// awayFor is for how long after a failure PostgreSQL counts as away without being asked, so that whoever has little
	// time learns it at once.
	awayFor = 500 * time.Millisecond
)

// DefaultAuditRetention is how long entries of the audit log are kept by default: a year and a month.
const DefaultAuditRetention = 400 * 24 * time.Hour

// Options are the settings of a DB.
type Options struct {
	// URL is where PostgreSQL is: postgres://user:password@host:port/database, with what pgx understands behind a
	// question mark, such as sslmode and pool_max_conns. Required.
	URL string
	// AuditRetention is how long entries of the audit log are kept. Defaults to [DefaultAuditRetention].
	AuditRetention time.Duration
	// RelayWait is how long a writer waits at most until Redis has its document, so that whoever reads Redis next finds
	// it. A relay takes some 10 ms; where many write at once, a longer wait would hold them up. Defaults to 100 ms.
	RelayWait time.Duration
	// Logger logs when PostgreSQL goes away and comes back, drift, and rebuilds. Defaults to none.
	Logger *slog.Logger
	// Registerer receives the metrics. Defaults to none.
	Registerer prometheus.Registerer
}

// DB is the system of record in a database of PostgreSQL. It is safe for concurrent use.
type DB struct {
	// Set by Open, read-only.
	pool      *pgxpool.Pool
	retention time.Duration
	relayWait time.Duration
	log       *slog.Logger
	metrics   *metrics

	ready    atomic.Bool   // the tables are there, as far as this process knows
	untold   atomic.Bool   // a comparison has perhaps repaired a document of which it could not tell every process
	running  atomic.Bool   // Run runs
	away     atomic.Bool   // the last call failed because PostgreSQL is away
	again    atomic.Int64  // unix ns from which on it is asked again
	why      atomic.Value  // string: why it was last away
	ensuring chan struct{} // holds one item while a goroutine looks for the tables
	wake     chan struct{} // holds one item while writers wait for the relay

	trouble trouble

	mu      sync.Mutex // protects the field below
	waiting *carried   // what writers wait for that have come since the relay last began
}

// carried is closed when the relay has carried over all that was in the outbox when it began.
type carried struct{ done chan struct{} }

var _ store.SystemOfRecord = (*DB)(nil)

// Open makes a DB, which does not depend on ctx any more. It connects when it is first used, and again whenever it must;
// the error is one of the URL, without the password. The caller closes the DB.
func Open(ctx context.Context, o Options) (*DB, error) {
	config, err := parseURL(o.URL)
	if err != nil {
		return nil, err
	}
	if !strings.Contains(o.URL, "pool_max_conns") {
		config.MaxConns = maxConnections
	}
	config.MaxConns = max(config.MaxConns, minConnections)
	if config.ConnConfig.ConnectTimeout == 0 || config.ConnConfig.ConnectTimeout > answerTimeout {
		config.ConnConfig.ConnectTimeout = answerTimeout
	}
	config.ConnConfig.DialFunc = (&net.Dialer{KeepAlive: keepAlive}).DialContext
	if config.ConnConfig.RuntimeParams["application_name"] == "" {
		config.ConnConfig.RuntimeParams["application_name"] = "arrakis"
	}
	pool, err := pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		return nil, badURL(err)
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	d := &DB{
		pool: pool, retention: cmp.Or(o.AuditRetention, DefaultAuditRetention),
		relayWait: cmp.Or(o.RelayWait, 100*time.Millisecond),
		log:       o.Logger.With("component", "record"),
		ensuring:  make(chan struct{}, 1), wake: make(chan struct{}, 1), waiting: newCarried(),
	}
	d.metrics = newMetrics(o.Registerer)
	return d, nil
}

// CheckURL returns an error, without the password, if url cannot be that of PostgreSQL.
func CheckURL(url string) error {
	_, err := parseURL(url)
	return err
}

func parseURL(url string) (*pgxpool.Config, error) {
	config, err := pgxpool.ParseConfig(url)
	if err != nil {
		return nil, badURL(err)
	}
	// Of postgres://user:12/secret@host/database, the host is user, and the rest would be shown as the name of the database.
	if strings.Contains(config.ConnConfig.Database, "@") {
		return nil, wantURL("in a user or password, write / as %2F and @ as %40; the name of a database has no @")
	}
	return config, nil
}

// badURL says what is wrong with a URL. The error of pgx repeats the URL, with a password that it hides only where it
// finds one; so only what it wraps is told.
func badURL(err error) error {
	reason := "it cannot be read"
	if bad, ok := errors.AsType[*pgconn.ParseConfigError](err); ok && bad.Unwrap() != nil {
		reason = oneLine(bad.Unwrap())
	}
	return wantURL(reason)
}

func wantURL(reason string) error {
	return fmt.Errorf("expected a URL such as postgres://user:password@host:5432/database: %s", reason)
}

func newCarried() *carried { return &carried{done: make(chan struct{})} }

// Close closes all connections. Run must have ended. For a PostgreSQL that does not answer, pgx goes on for up to 15 s in
// the background.
func (d *DB) Close() {
	closed := make(chan struct{})
	go func() { defer close(closed); d.pool.Close() }()
	select {
	case <-closed:
	case <-time.After(closeTimeout):
	}
}

// Address is where PostgreSQL is, without user and password.
func (d *DB) Address() string {
	c := d.pool.Config().ConnConfig
	return fmt.Sprintf("%s:%d/%s", c.Host, c.Port, c.Database)
}

// Ping returns nil if PostgreSQL answers.
func (d *DB) Ping(ctx context.Context) error {
	ctx, cancel := timed(ctx)
	defer cancel()
	if err := d.pool.Ping(ctx); err != nil {
		_ = d.readError(ctx, err) // it only records that PostgreSQL is away; that it answers does not say that it can be used
		return errors.New(reasonOf(err))
	}
	return nil
}

// errSlow is why a context of timed has ended that its caller did not end.
var errSlow = errors.New("no answer within " + answerTimeout.String())

// timed is a context for one answer of PostgreSQL. If none comes, PostgreSQL counts as away.
func timed(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(ctx, answerTimeout, errSlow)
}

// patient is a context for one answer about many documents or entries. If none comes, that says nothing of PostgreSQL.
func patient(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, patience)
}
