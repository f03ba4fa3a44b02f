package store_test

import (
	"bytes"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"

	"arrakis/tenant"
	"arrakis/tenant/store"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(testingM{m}) }

// testingM ends what the tests share.
type testingM struct{ *testing.M }

func (m testingM) Run() int {
	defer oneCluster.stop()
	return m.M.Run()
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

// onEveryRedis runs test on an empty Redis of each kind, in parallel.
func onEveryRedis(t *testing.T, test func(t *testing.T, rdb redis.UniversalClient)) {
	t.Helper()
	for _, b := range backends {
		t.Run(b.name, func(t *testing.T) {
			t.Parallel()
			test(t, connect(t, b.cluster, b.start(t)))
		})
	}
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

// startServer starts redis-server on the loopback and returns its address. It
// ends with the test.
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
	for range 10 {
		// Below the ports that the system hands out, and so is that of a cluster's
		// bus, 10,000 above: no connection takes them before the server does.
		port := strconv.Itoa(10_000 + rand.IntN(10_000))
		addr = net.JoinHostPort("127.0.0.1", port)
		cmd := exec.Command(path, append([]string{
			"--port", port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", dir,
		}, args...)...)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		ended := make(chan struct{})
		go func() {
			_ = cmd.Wait() // killed: the error says so
			close(ended)
		}()
		stop = func() { _ = cmd.Process.Kill(); <-ended }
		if answers(t, addr, cmd.Process.Pid, ended) {
			return addr, stop
		}
	}
	t.Fatal("redis-server does not start")
	return "", nil
}

// answers waits until the process answers on addr, which another server there
// might do as well. It reports false if the process has ended, as it does when
// its port is taken.
func answers(t *testing.T, addr string, pid int, ended <-chan struct{}) (up bool) {
	t.Helper()
	rdb := redis.NewClient(&redis.Options{Addr: addr, MaxRetries: -1})
	defer rdb.Close() //nolint:errcheck // nothing is pending
	own := fmt.Sprintf("\r\nprocess_id:%d\r\n", pid)
	eventually(t, "redis-server answers", func() bool {
		select {
		case <-ended:
			return true
		default:
			up = strings.Contains(rdb.Info(t.Context(), "server").Val(), own)
			return up
		}
	})
	return up
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
		c.addr, c.kill = runServer(t, dir, "--cluster-enabled", "yes")
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
func newStore(rdb redis.UniversalClient) (*store.Store, *bytes.Buffer) {
	var log bytes.Buffer
	return store.New(rdb, store.Options{
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

func load(t *testing.T, s *store.Store, id string) *tenant.Tenant {
	t.Helper()
	tenants, err := s.Load(t.Context(), []string{id})
	if err != nil {
		t.Fatal(err)
	}
	return tenants[0]
}
