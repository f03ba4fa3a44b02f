package tenant_test

import (
	"bytes"
	"context"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"sync"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"

	"arrakis/tenant"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		oneCluster.stop()
		os.Exit(code)
	}))
}

// backend is a Redis to test on.
type backend struct {
	name    string
	cluster bool
	start   func(t *testing.T) (addr string)
}

var backends = []backend{
	{name: "miniredis", start: startMini},
	{name: "redis-server", start: startServer},
	{name: "cluster", cluster: true, start: oneCluster.borrow},
}

// open returns a client of an empty Redis.
func (b backend) open(t *testing.T) redis.UniversalClient {
	t.Helper()
	return connect(t, b.cluster, b.start(t))
}

func connect(t *testing.T, cluster bool, addr string) redis.UniversalClient {
	t.Helper()
	rdb := redis.NewUniversalClient(&redis.UniversalOptions{
		Addrs:         []string{addr},
		IsClusterMode: cluster,
	})
	t.Cleanup(func() {
		if err := rdb.Close(); err != nil {
			t.Errorf("close client: %v", err)
		}
	})
	return rdb
}

func startMini(t *testing.T) string {
	t.Helper()
	return miniredis.RunT(t).Addr()
}

// startServer starts redis-server on a free loopback port and returns its
// address. It ends with the test.
func startServer(t *testing.T) string {
	t.Helper()
	addr, stop := runServer(t, t.TempDir())
	t.Cleanup(stop)
	return addr
}

// runServer starts redis-server and waits until it answers.
func runServer(t *testing.T, dir string, args ...string) (addr string, stop func()) {
	t.Helper()
	path, err := exec.LookPath("redis-server")
	if err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal("redis-server is not installed; CI needs it")
		}
		t.Skip("redis-server is not installed: skipping the test on a real Redis")
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr = l.Addr().String()
	_, port, _ := net.SplitHostPort(addr)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	args = append([]string{"--port", port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", dir}, args...)
	cmd := exec.Command(path, args...)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	stop = func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // killed: the error says so
	}
	rdb := redis.NewClient(&redis.Options{Addr: addr, MaxRetries: -1})
	defer func() { _ = rdb.Close() }()
	eventually(t, "redis-server answers", func() bool { return rdb.Ping(t.Context()).Err() == nil })
	return addr, stop
}

// sharedCluster is a Redis Cluster of one node that owns every slot: keys of
// several slots in one command are refused as in any cluster. It takes two
// seconds to start, so the tests borrow one, in turn.
type sharedCluster struct {
	turn sync.Mutex // held by the test that borrows

	// Protected by turn.
	addr string
	dir  string
	kill func()
}

var oneCluster sharedCluster

// borrow waits for the cluster and empties it. It is given back when the test
// ends.
func (c *sharedCluster) borrow(t *testing.T) string {
	t.Helper()
	c.turn.Lock()
	t.Cleanup(c.turn.Unlock)
	if c.addr == "" {
		dir, err := os.MkdirTemp("", "tenant-cluster") //nolint:usetesting // outlives the test
		if err != nil {
			t.Fatal(err)
		}
		c.dir = dir
		c.addr, c.kill = runServer(t, dir, "--cluster-enabled", "yes", "--cluster-port", freePort(t))
		rdb := redis.NewClient(&redis.Options{Addr: c.addr})
		defer func() { _ = rdb.Close() }()
		if err := rdb.ClusterAddSlotsRange(t.Context(), 0, 16383).Err(); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the cluster is up", func() bool {
			return rdb.Set(t.Context(), "up", "1", time.Second).Err() == nil
		})
	}
	rdb := redis.NewClient(&redis.Options{Addr: c.addr})
	defer func() { _ = rdb.Close() }()
	if err := rdb.FlushAll(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	return c.addr
}

// stop ends the cluster, if a test has started it.
func (c *sharedCluster) stop() {
	if c.kill != nil {
		c.kill()
	}
	if c.dir != "" {
		_ = os.RemoveAll(c.dir)
	}
}

// eventually polls a condition for up to a minute.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	ticker := time.NewTicker(2 * time.Millisecond)
	defer ticker.Stop()
	deadline := time.After(time.Minute)
	for !ok() {
		select {
		case <-ticker.C:
		case <-deadline:
			t.Fatalf("after a minute still not: %s", what)
		}
	}
}

// newStore makes a store that logs to the returned buffer, for one goroutine.
func newStore(rdb redis.UniversalClient) (*tenant.Store, *bytes.Buffer) {
	var log bytes.Buffer
	return tenant.NewStore(rdb, tenant.StoreOptions{
		Source: "test",
		Logger: slog.New(slog.NewTextHandler(&log, nil)),
	}), &log
}

func set(t *testing.T, rdb redis.UniversalClient, key, text string) {
	t.Helper()
	if err := rdb.Set(t.Context(), key, text, 0).Err(); err != nil {
		t.Fatal(err)
	}
}

func load(t *testing.T, s *tenant.Store, id string) *tenant.Tenant {
	t.Helper()
	tenants, err := s.Load(t.Context(), []string{id})
	if err != nil {
		t.Fatal(err)
	}
	return tenants[0]
}

// changes reads the change log: member to score.
func changes(ctx context.Context, t *testing.T, rdb redis.UniversalClient) map[string]int64 {
	t.Helper()
	entries, err := rdb.ZRangeWithScores(ctx, "arrakis:config:changes", 0, -1).Result()
	if err != nil {
		t.Fatal(err)
	}
	got := make(map[string]int64)
	for _, z := range entries {
		got[z.Member.(string)] = int64(z.Score)
	}
	return got
}
