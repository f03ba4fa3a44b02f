package testserver

import (
	"testing"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"
)

// Miniredis starts a Redis in this process and closes it when the test ends. After Close, Restart starts it again at
// its address and with its keys. Read Addr before Close.
func Miniredis(tb testing.TB) *miniredis.Miniredis {
	tb.Helper()
	m := miniredis.NewMiniRedis()
	if err := m.StartAddr(address(tb)); err != nil {
		tb.Fatalf("start miniredis: %v", err)
	}
	tb.Cleanup(m.Close)
	return m
}

// BothRedises runs a test on a miniredis and on a redis-server, as two parallel subtests. Both servers are new and
// empty.
func BothRedises(t *testing.T, test func(t *testing.T, addr string)) {
	t.Helper()
	t.Run("miniredis", func(t *testing.T) {
		t.Parallel()
		test(t, Miniredis(t).Addr())
	})
	t.Run("redis-server", func(t *testing.T) {
		t.Parallel()
		test(t, Redis(t).Addr())
	})
}

// EveryRedis runs a test on a miniredis, on a redis-server and on a Redis Cluster, as three parallel subtests. All
// three are empty. The cluster has one node, and the tests of a package take turns with it.
func EveryRedis(t *testing.T, test func(t *testing.T, rdb redis.UniversalClient)) {
	t.Helper()
	BothRedises(t, func(t *testing.T, addr string) { test(t, ConnectRedis(t, addr)) })
	t.Run("cluster", func(t *testing.T) {
		t.Parallel()
		test(t, ConnectCluster(t, shared.borrow(t).Addr()))
	})
}
