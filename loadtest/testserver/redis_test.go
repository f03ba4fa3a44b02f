package testserver_test

import (
	"net"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"

	"arrakis/loadtest/testserver"
)

func TestRedisStartsAgain(t *testing.T) {
	t.Parallel()
	s := testserver.Redis(t, "--appendonly", "yes", "--appendfsync", "no")
	addr, rdb := s.Addr(), s.Client(t)
	if err := rdb.Set(t.Context(), "key", "value", 0).Err(); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		s.Kill()
		if c, err := net.Dial("tcp", addr); err == nil {
			t.Errorf("%s answers without a server", c.RemoteAddr())
			_ = c.Close()
		}
		s.Start()
		if got, err := rdb.Get(t.Context(), "key").Result(); got != "value" || s.Addr() != addr {
			t.Errorf("at %s, before at %s: %q, %v", s.Addr(), addr, got, err)
		}
	}
}

func TestRedisSaysWhyItDoesNotStart(t *testing.T) {
	t.Parallel()
	testserver.Program(t, "redis-server")
	r := try(t, func(tb testing.TB) { testserver.Redis(tb, "--no-such-setting", "1") })
	if !strings.Contains(r.failed, "the process has ended") || !strings.Contains(r.failed, "no-such-setting") {
		t.Errorf("failed with %q", r.failed)
	}
}

func TestCluster(t *testing.T) {
	t.Parallel()
	masters := testserver.Cluster(t, 3)
	rdb := testserver.ConnectCluster(t, masters[0].Addr())
	for _, key := range []string{"a", "b", "c"} { // one slot of each master
		if err := rdb.Set(t.Context(), key, "value", 0).Err(); err != nil {
			t.Error(err)
		}
	}
	for _, m := range masters {
		if n := m.Client(t).DBSize(t.Context()).Val(); n != 1 {
			t.Errorf("%s holds %d keys, want 1", m.Addr(), n)
		}
	}
}

func TestSentinel(t *testing.T) {
	t.Parallel()
	master := testserver.Redis(t)
	s := testserver.Sentinel(t, "water", master)
	c := redis.NewSentinelClient(&redis.Options{Addr: s.Addr()})
	t.Cleanup(func() { _ = c.Close() })
	addr, err := c.GetMasterAddrByName(t.Context(), "water").Result()
	if err != nil || net.JoinHostPort(addr[0], addr[1]) != master.Addr() {
		t.Errorf("the master is %q, %v, want %s", addr, err, master.Addr())
	}
}

// TestEveryRedis runs twice: what the first run has left is gone in the second.
func TestEveryRedis(t *testing.T) {
	t.Parallel()
	for range 2 {
		ran := make(chan string, 3)
		t.Run("all", func(t *testing.T) {
			testserver.EveryRedis(t, func(t *testing.T, rdb redis.UniversalClient) {
				if n, err := rdb.DBSize(t.Context()).Result(); n != 0 || err != nil {
					t.Errorf("%d keys, %v", n, err)
				}
				if err := rdb.Set(t.Context(), "key", "value", 0).Err(); err != nil {
					t.Error(err)
				}
				ran <- t.Name()
			})
		})
		if n := len(ran); n == 0 {
			t.Error("no test ran")
		}
	}
}

func TestMiniredisStartsAgain(t *testing.T) {
	t.Parallel()
	m := testserver.Miniredis(t)
	addr := m.Addr()
	if err := m.Set("key", "value"); err != nil {
		t.Fatal(err)
	}
	m.Close()
	if err := m.Restart(); err != nil || m.Addr() != addr || !m.Exists("key") {
		t.Errorf("%v, at %s, before at %s", err, m.Addr(), addr)
	}
}
