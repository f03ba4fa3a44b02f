package limiter

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// sentinel is a master and its replica under the watch of a Sentinel.
type sentinel struct {
	master, replica, watch *testServer
}

// masterName is what the Sentinel calls its master.
const masterName = "arrakis"

func startSentinel(t *testing.T) sentinel {
	t.Helper()
	s := sentinel{master: startRedis(t, "--repl-diskless-sync-delay", "0")}
	host, port, _ := net.SplitHostPort(s.master.addr)
	s.replica = startRedis(t, "--replicaof", host, port)
	s.watch = watchMaster(t, host, port)
	c := s.client(t)
	if !poll(patience, func() bool {
		replicas, err := c.Replicas(t.Context(), masterName).Result()
		return err == nil && len(replicas) == 1 && replicas[0]["master-link-status"] == "ok"
	}) {
		t.Fatal("the sentinel does not see the replica in sync")
	}
	return s
}

// watchMaster starts a Sentinel.
func watchMaster(t *testing.T, host, port string) *testServer {
	t.Helper()
	s := &testServer{}
	t.Cleanup(s.kill)
	for range 10 {
		own, dir := anyPort(), t.TempDir()
		s.addr = net.JoinHostPort("127.0.0.1", own)
		config := filepath.Join(dir, "sentinel.conf") // which it writes to
		text := fmt.Sprintf("bind 127.0.0.1\nport %s\ndir %s\nsentinel monitor %s %s %s 1\nsentinel down-after-milliseconds %[3]s 60000\n",
			own, dir, masterName, host, port)
		if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		s.args = []string{"redis-server", config, "--sentinel"}
		if s.start(t) {
			return s
		}
	}
	t.Fatal("the sentinel does not start")
	return nil
}

func (s sentinel) client(t *testing.T) *redis.SentinelClient {
	t.Helper()
	c := redis.NewSentinelClient(&redis.Options{Addr: s.watch.addr})
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// TestSentinelFailover kills the master: limits are decided in memory until the Sentinel has made the replica the master,
// and are then exact again by themselves, with what was admitted meanwhile.
func TestSentinelFailover(t *testing.T) {
	t.Parallel()
	s := startSentinel(t)
	rdb := redis.NewFailoverClient(&redis.FailoverOptions{
		MasterName: masterName, SentinelAddrs: []string{s.watch.addr}, ContextTimeoutEnabled: true,
		DialTimeout: patience, ReadTimeout: patience, DialerRetries: 1,
	})
	t.Cleanup(func() { _ = rdb.Close() })
	l := newLimiterOn(t, rdb, quick(Local), nil)
	run(t, l)
	limit := Limit{Max: 4, Window: time.Hour}
	want := func(want string, ids ...string) {
		t.Helper()
		if got, _ := ask(t, l, "k", limit, ids...); got != want {
			t.Errorf("%v: verdicts %s, want %s", ids, got, want)
		}
	}
	want("11", "a", "b")
	if !poll(patience, func() bool { return members(t, s.replica) == 2 }) {
		t.Fatal("the permits do not reach the replica")
	}
	s.master.kill()
	want("21", "a", "c")
	if !l.Degraded() {
		t.Error("not degraded without a master")
	}
	c := s.client(t)
	if !poll(patience, func() bool { return c.Failover(t.Context(), masterName).Err() == nil }) {
		t.Fatalf("the sentinel does not fail over: %v", c.Failover(t.Context(), masterName).Err())
	}
	if !poll(patience, func() bool { return !l.Degraded() && l.fallback.idle() }) {
		t.Fatal("still degraded after the failover")
	}
	if n := members(t, s.replica); n != 3 {
		t.Errorf("the new master holds %d permits, want the 2 of before and the 1 that was merged", n)
	}
	want("222", "a", "b", "c")
	want("10", "d", "e")
	if l.Degraded() {
		t.Error("degraded again")
	}
}
