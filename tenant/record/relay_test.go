package record_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/redis/go-redis/v9"

	"arrakis/loadtest/testserver"
	"arrakis/tenant"
	"arrakis/tenant/record"
	"arrakis/tenant/store"
)

// step is a moment between two steps of a relay.
type step int

const (
	beforeApply    step = iota // it has read the outbox
	beforeAnnounce             // Redis has the documents
	beforeDelete               // they are announced
)

func (s step) String() string {
	return [...]string{"before Redis has the documents", "before they are announced", "before the outbox has them no longer"}[s]
}

// at is a hook of a relay's client of Redis that calls do at a step. An error of do is that of Redis.
type at struct {
	step step
	do   func() error
}

func (*at) DialHook(next redis.DialHook) redis.DialHook { return next }

// ProcessHook sees the script that announces documents.
func (a *at) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		announces := cmd.Name() == "eval"
		if announces && a.step == beforeAnnounce {
			if err := a.do(); err != nil {
				return err
			}
		}
		err := next(ctx, cmd)
		if err == nil && announces && a.step == beforeDelete {
			return a.do()
		}
		return err
	}
}

// ProcessPipelineHook sees the scripts that store documents.
func (a *at) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		if cmds[0].Name() == "evalsha" && a.step == beforeApply {
			if err := a.do(); err != nil {
				return err
			}
		}
		return next(ctx, cmds)
	}
}

// relayAt starts a relay that calls do at a step, and returns a store without a relay of its own. PostgreSQL is the
// system of record.
func (s site) relayAt(t *testing.T, url string, where step, do func() error) *store.Store {
	t.Helper()
	first := open(t, s.url)
	ctx, cancel := context.WithCancel(t.Context())
	adopted := make(chan error, 1)
	go func() { adopted <- first.Run(ctx, store.New(s.redis.Client(t), store.Options{}).Mirror()) }()
	awaitUse(t, first)
	cancel()
	if err := <-adopted; err != nil {
		t.Fatal(err)
	}
	rdb := s.redis.Client(t)
	rdb.AddHook(&at{step: where, do: do})
	run(t, open(t, url), store.New(rdb, store.Options{}).Mirror())
	return newStore(s.redis.Client(t), open(t, s.url))
}

// A relay dies between two steps. The next one carries over what it has left, and tells of it.
func TestRelayDiesBetweenSteps(t *testing.T) {
	t.Parallel()
	for _, where := range []step{beforeApply, beforeAnnounce, beforeDelete} {
		t.Run(where.String(), func(t *testing.T) {
			t.Parallel()
			s := newSite(t, testserver.PostgresDatabase(t))
			conn := testserver.ConnectPostgres(t, s.url)
			proxy := testserver.Proxy(t, addrOf(t, s.url))
			died := make(chan struct{}, 1000)
			st := s.relayAt(t, strings.Replace(s.url, addrOf(t, s.url), proxy.Addr(), 1), where, func() error {
				proxy.Refuse() // it never reaches PostgreSQL again
				died <- struct{}{}
				return errors.New("the relay is dead")
			})
			if _, _, err := st.UpgradeTier(t.Context(), edited[0], tenant.Pro); err != nil {
				t.Fatal(err)
			}
			<-died
			inRedis := s.redis.Client(t).Exists(t.Context(), store.ConfigKey(edited[0])).Val() == 1
			var left int
			if err := conn.QueryRow(t.Context(), "SELECT count(*) FROM arrakis.outbox").Scan(&left); err != nil || left != 1 || inRedis != (where > beforeApply) {
				t.Errorf("the outbox has %d rows, %v; the document is in Redis: %t", left, err, inRedis)
			}
			w := watch(t, s.redis.Addr()) // hears nothing of the relay that died
			s.process(t, s.redis.Addr())
			s.settled(t)
			w.checkHeard(t)
			if v := w.versions(t.Context()); v[0] == 0 {
				t.Error("the document is not in Redis")
			}
		})
	}
}

// Redis fails between two steps of a relay, which then does all of them again.
func TestRedisFailsBetweenSteps(t *testing.T) {
	t.Parallel()
	for _, where := range []step{beforeApply, beforeAnnounce, beforeDelete} {
		t.Run(where.String(), func(t *testing.T) {
			t.Parallel()
			s := newSite(t, testserver.PostgresDatabase(t))
			w := watch(t, s.redis.Addr())
			failures := make(chan error, 1)
			failures <- errors.New("Redis fails")
			st := s.relayAt(t, s.url, where, func() error {
				select {
				case err := <-failures:
					return err
				default:
					return nil
				}
			})
			if _, _, err := st.UpgradeTier(t.Context(), edited[0], tenant.Pro); err != nil {
				t.Fatal(err)
			}
			s.settled(t)
			w.checkHeard(t)
			if len(failures) > 0 {
				t.Error("Redis has not failed")
			}
		})
	}
}

// A relay is frozen before it gives Redis a document, until another one has given it a newer one. It does no harm then.
func TestRelayFreezes(t *testing.T) {
	t.Parallel()
	s := newSite(t, testserver.PostgresDatabase(t))
	w := watch(t, s.redis.Addr())
	frozen, thaw, thawed := make(chan struct{}, 1), make(chan struct{}), make(chan struct{})
	var once sync.Once
	st := s.relayAt(t, s.url, beforeApply, func() error {
		once.Do(func() {
			frozen <- struct{}{}
			<-thaw
			close(thawed)
		})
		return nil
	})
	if _, _, err := st.UpgradeTier(t.Context(), edited[0], tenant.Pro); err != nil {
		t.Fatal(err)
	}
	<-frozen
	// As PostgreSQL does after ten seconds.
	_, err := testserver.ConnectPostgres(t, s.url).Exec(t.Context(), `SELECT pg_terminate_backend(pid) FROM pg_stat_activity
		WHERE datname = current_database() AND state = 'idle in transaction'`)
	if err != nil {
		t.Fatal(err)
	}
	other := s.process(t, s.redis.Addr())
	if _, _, err := other.UpgradeTier(t.Context(), edited[0], tenant.Enterprise); err != nil {
		t.Fatal(err)
	}
	s.settled(t)
	close(thaw)
	<-thawed
	w.checkHeard(t)
	s.settled(t)
}

// The variables that make this test binary a process that relays.
const (
	asRelayPostgres = "ARRAKIS_TEST_RELAY_POSTGRES"
	asRelayRedis    = "ARRAKIS_TEST_RELAY_REDIS"
)

// runAsRelay relays until it is killed.
func runAsRelay() error {
	d, err := record.Open(context.Background(), record.Options{URL: os.Getenv(asRelayPostgres), RelayWait: 5 * time.Second, Logger: slog.Default()})
	if err != nil {
		return err
	}
	rdb := redis.NewClient(&redis.Options{Addr: os.Getenv(asRelayRedis)})
	return d.Run(context.Background(), store.New(rdb, store.Options{}).Mirror())
}

// startRelay starts a process that relays, and waits until it uses PostgreSQL. kill kills it, as a crash does.
func (s site) startRelay(t *testing.T, conn *pgx.Conn, name string) (kill func()) {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run", "^$")
	cmd.Env = append(os.Environ(), asRelayPostgres+"="+s.url+"&application_name="+name, asRelayRedis+"="+s.redis.Addr())
	cmd.Stdout, cmd.Stderr = t.Output(), t.Output()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	testserver.Eventually(t, name+" runs", func() bool {
		var runs bool
		err := conn.QueryRow(t.Context(), "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE application_name = $1)", name).Scan(&runs)
		return err == nil && runs
	})
	return func() {
		_ = cmd.Process.Kill() // it has not ended by itself
		_ = cmd.Wait()         // the error says "killed"
	}
}

// Three processes relay at once, and are killed again and again while tenants are changed.
func TestRelaysKilled(t *testing.T) {
	t.Parallel()
	s := newSite(t, testserver.PostgresDatabase(t))
	w, conn := watch(t, s.redis.Addr()), testserver.ConnectPostgres(t, s.url)
	kills := make([]func(), 3)
	for i := range kills {
		kills[i] = s.startRelay(t, conn, fmt.Sprintf("relay-%d", i))
		t.Cleanup(func() { kills[i]() })
	}
	d := open(t, s.url)
	awaitUse(t, d)
	e := startEditors(t, 10, newStore(s.redis.Client(t), d)) // without a relay: editors do not wait for Redis
	for n := range 12 {
		e.more(t, 50)
		i := rand.IntN(len(kills))
		kills[i]()
		kills[i] = s.startRelay(t, conn, fmt.Sprintf("relay-%d-%d", i, n))
	}
	e.end()
	e.check(t, s.settled(t))
	w.checkHeard(t)
}

// addrOf is the host:port in a URL of PostgreSQL.
func addrOf(t *testing.T, url string) string {
	t.Helper()
	_, addr, _ := strings.Cut(url, "@")
	addr, _, found := strings.Cut(addr, "/")
	if !found {
		t.Fatalf("no address in %s", url)
	}
	return addr
}
