package record_test

import (
	"testing"

	"github.com/jackc/pgx/v5"

	"arrakis/loadtest/testserver"
	"arrakis/tenant/store"
)

// site is what the processes of a test have in common.
type site struct {
	url   string // of PostgreSQL
	redis *testserver.RedisServer
}

// newSite is a site with an empty database and an empty Redis.
func newSite(t *testing.T, url string) site {
	t.Helper()
	s := site{url: url, redis: testserver.Redis(t)}
	if _, err := open(t, url).Migrate(t.Context()); err != nil { // so that processes that start together do not wait for each other
		t.Fatal(err)
	}
	return s
}

// process is what a worker has of the system of record, with a relay. redisAddr is that of Redis or of a proxy.
func (s site) process(t *testing.T, redisAddr string) *store.Store {
	t.Helper()
	st, _ := runningAt(t, testserver.ConnectRedis(t, redisAddr), s.url)
	return st
}

// processes are n processes.
func (s site) processes(t *testing.T, n int) []*store.Store {
	t.Helper()
	stores := make([]*store.Store, n)
	for i := range stores {
		stores[i] = s.process(t, s.redis.Addr())
	}
	return stores
}

// filled waits until Redis has all copies again.
func (s site) filled(t *testing.T) {
	t.Helper()
	var id string
	if err := testserver.ConnectPostgres(t, s.url).QueryRow(t.Context(), "SELECT id::text FROM arrakis.record").Scan(&id); err != nil {
		t.Fatal(err)
	}
	rdb := s.redis.Client(t)
	testserver.Eventually(t, "Redis is filled", func() bool { return rdb.Get(t.Context(), store.RecordKey).Val() == id })
}

// settled waits until the relays have carried everything over, checks that nothing has drifted, and returns a connection.
func (s site) settled(t *testing.T) *pgx.Conn {
	t.Helper()
	conn, d := testserver.ConnectPostgres(t, s.url), open(t, s.url)
	testserver.Eventually(t, "the outbox is empty", func() bool {
		var rows int
		return conn.QueryRow(t.Context(), "SELECT count(*) FROM arrakis.outbox").Scan(&rows) == nil && rows == 0
	})
	wantNoDrift(t, d, store.New(s.redis.Client(t), store.Options{}).Mirror())
	return conn
}

// Fifty editors change three tenants on three processes, each of which relays.
func TestFiftyEditors(t *testing.T) {
	t.Parallel()
	s := newSite(t, testserver.PostgresDatabase(t))
	w := watch(t, s.redis.Addr())
	e := startEditors(t, 50, s.processes(t, 3)...)
	e.more(t, 500)
	e.end()
	e.check(t, s.settled(t))
	w.checkHeard(t)
}

// PostgreSQL crashes again and again while tenants are changed.
func TestPostgresKilled(t *testing.T) {
	t.Parallel()
	server := testserver.Postgres(t)
	s := newSite(t, server.URL())
	w := watch(t, s.redis.Addr())
	e := startEditors(t, 10, s.processes(t, 2)...)
	for range 3 {
		e.more(t, 50)
		server.Kill()
		server.Start()
	}
	e.more(t, 50)
	e.end()
	e.check(t, s.settled(t))
	w.checkHeard(t)
}

// Redis loses everything while tenants are changed.
func TestRedisEmptied(t *testing.T) {
	t.Parallel()
	s := newSite(t, testserver.PostgresDatabase(t))
	w := watch(t, s.redis.Addr())
	e := startEditors(t, 10, s.processes(t, 2)...)
	rdb := s.redis.Client(t)
	for range 5 {
		e.more(t, 50)
		w.loses(func() { rdb.FlushAll(t.Context()) })
	}
	e.more(t, 50)
	e.end()
	s.filled(t)
	e.check(t, s.settled(t))
	w.checkHeard(t)
}

// Redis, which keeps nothing on disk, crashes while tenants are changed.
func TestRedisKilled(t *testing.T) {
	t.Parallel()
	s := newSite(t, testserver.PostgresDatabase(t))
	w := watch(t, s.redis.Addr()) // events are lost with the connection; what is in force is read again, see package watch
	e := startEditors(t, 10, s.processes(t, 2)...)
	for range 3 {
		e.more(t, 50)
		w.loses(s.redis.Kill)
		e.more(t, 10) // without Redis
		s.redis.Start()
	}
	e.more(t, 50)
	e.end()
	s.filled(t)
	e.check(t, s.settled(t))
}

// Redis cannot be reached for a while, again and again, and loses nothing.
func TestRedisCutOff(t *testing.T) {
	t.Parallel()
	s := newSite(t, testserver.PostgresDatabase(t))
	w := watch(t, s.redis.Addr())
	proxy := testserver.Proxy(t, s.redis.Addr())
	e := startEditors(t, 10, s.process(t, proxy.Addr()), s.process(t, proxy.Addr()))
	for range 3 {
		proxy.Accept()
		e.more(t, 50)
		proxy.Refuse()
		e.more(t, 10)
	}
	e.end() // before Redis is back: no later change hides that an earlier one is missing
	proxy.Accept()
	e.check(t, s.settled(t))
	w.checkHeard(t)
}

// Redis loses everything a second time while it is filled: in the end it has what it had got before, too.
func TestRedisEmptiedWhileFilled(t *testing.T) {
	t.Parallel()
	s := newSite(t, testserver.PostgresDatabase(t))
	rdb, other := s.redis.Client(t), s.redis.Client(t)
	parts := make(chan int, 1)
	parts <- 0
	st := s.relayAt(t, s.url, beforeApply, func() error {
		n := <-parts + 1
		parts <- n
		if n == 3 {
			return other.FlushAll(t.Context()).Err()
		}
		return nil
	})
	_, err := testserver.ConnectPostgres(t, s.url).Exec(t.Context(), `INSERT INTO arrakis.documents (kind, id, doc, version, updated_at)
		SELECT 'tenant', 'comm_' || i, '{"tier":"pro"}', i, now() FROM generate_series(1, 10000) AS i`)
	if err != nil {
		t.Fatal(err)
	}
	if err := rdb.FlushAll(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	s.filled(t)
	s.settled(t)
	if tenants, err := st.Load(t.Context(), []string{"comm_1", "comm_10000"}); err != nil || !tenants[0].Stored || !tenants[1].Stored {
		t.Errorf("%+v, %v", tenants, err)
	}
}
