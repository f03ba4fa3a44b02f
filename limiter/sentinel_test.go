package limiter

import (
	"net"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"arrakis/loadtest/testserver"
)

// sentinel is a master and its replica under the watch of a Sentinel.
type sentinel struct {
	master, replica, watch *testserver.RedisServer
}

// masterName is what the Sentinel calls its master.
const masterName = "arrakis"

func startSentinel(t *testing.T) sentinel {
	t.Helper()
	s := sentinel{master: testserver.Redis(t, "--repl-diskless-sync-delay", "0")}
	host, port, _ := net.SplitHostPort(s.master.Addr())
	s.replica = testserver.Redis(t, "--replicaof", host, port)
	s.watch = testserver.Sentinel(t, masterName, s.master)
	c := s.client(t)
	testserver.Eventually(t, "the Sentinel sees the replica in sync", func() bool {
		replicas, err := c.Replicas(t.Context(), masterName).Result()
		return err == nil && len(replicas) == 1 && replicas[0]["master-link-status"] == "ok"
	})
	return s
}

func (s sentinel) client(t *testing.T) *redis.SentinelClient {
	t.Helper()
	c := redis.NewSentinelClient(&redis.Options{Addr: s.watch.Addr()})
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// TestSentinelFailover kills the master: limits are decided in memory until the Sentinel has made the replica the
// master, and are then exact again by themselves, with what was admitted meanwhile.
func TestSentinelFailover(t *testing.T) {
	t.Parallel()
	s := startSentinel(t)
	rdb := redis.NewFailoverClient(&redis.FailoverOptions{
		MasterName: masterName, SentinelAddrs: []string{s.watch.Addr()}, ContextTimeoutEnabled: true,
		DialTimeout: testserver.Patience, ReadTimeout: testserver.Patience, DialerRetries: 1,
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
	testserver.Eventually(t, "the permits reach the replica", func() bool { return members(t, s.replica.Addr()) == 2 })
	s.master.Kill()
	want("21", "a", "c")
	if !l.Degraded() {
		t.Error("not degraded without a master")
	}
	c := s.client(t)
	testserver.Succeeds(t, "the Sentinel fails over", func() error { return c.Failover(t.Context(), masterName).Err() })
	testserver.Eventually(t, "the new master is used", func() bool { return !l.Degraded() && l.fallback.idle() })
	if n := members(t, s.replica.Addr()); n != 3 {
		t.Errorf("the new master holds %d permits, want the 2 of before and the 1 that was merged", n)
	}
	want("222", "a", "b", "c")
	want("10", "d", "e")
	if l.Degraded() {
		t.Error("degraded again")
	}
}
