package admin

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"

	"arrakis/limiter"
	"arrakis/pipeline/deadletter"
	"arrakis/pipeline/http/ops"
	"arrakis/pipeline/streams"
	"arrakis/shard"
	"arrakis/tenant/store"
)

var update = flag.Bool("update", false, "write the golden files anew")

func TestMain(m *testing.M) {
	redis.SetLogger(quiet{}) // outages are what some tests are about
	goleak.VerifyTestMain(m)
}

// quiet is a logger of go-redis.
type quiet struct{}

func (quiet) Printf(context.Context, string, ...any) {}

// bed is the admin API on the ops address, with a Redis and a NATS of its own.
type bed struct {
	redis  redis.UniversalClient
	mini   *miniredis.Miniredis // nil on another Redis
	store  *store.Store
	limits *shard.Limits
	nats   *server.Server
	js     jetstream.JetStream
	url    string
}

const token = "s3cret"

func newBed(tb testing.TB) *bed {
	tb.Helper()
	mini := miniredis.RunT(tb)
	b := newBedOn(tb, redis.NewClient(&redis.Options{Addr: mini.Addr(), ContextTimeoutEnabled: true, DialerRetries: 1}))
	b.mini = mini
	return b
}

func newBedOn(tb testing.TB, rdb redis.UniversalClient) *bed {
	tb.Helper()
	tb.Cleanup(func() { _ = rdb.Close() })
	b := &bed{redis: rdb, store: store.New(rdb, store.Options{Source: "test"})}
	l, err := limiter.New(rdb, limiter.Options{})
	if err != nil {
		tb.Fatal(err)
	}
	b.limits = &shard.Limits{Tenants: b.store, Limiter: l}
	b.startNATS(tb)
	h, err := Handler(Options{
		Limits: b.limits, DeadLetters: deadletter.New(b.js),
		Logger: slog.New(slog.NewTextHandler(tb.Output(), nil)),
	})
	if err != nil {
		tb.Fatal(err)
	}
	h, err = ops.Handler(ops.Options{Health: ops.NewHealth(nil), Admin: h, AdminToken: token})
	if err != nil {
		tb.Fatal(err)
	}
	ts := httptest.NewServer(h)
	tb.Cleanup(ts.Close)
	b.url = ts.URL
	return b
}

func (b *bed) startNATS(tb testing.TB) {
	tb.Helper()
	var err error
	b.nats, err = server.NewServer(&server.Options{
		Host: "127.0.0.1", Port: -1, JetStream: true, StoreDir: tb.TempDir(), NoLog: true, NoSigs: true,
		JetStreamMaxMemory: 4 << 30, JetStreamMaxStore: 4 << 30,
	})
	if err != nil {
		tb.Fatal(err)
	}
	b.nats.Start()
	tb.Cleanup(func() { b.nats.Shutdown(); b.nats.WaitForShutdown() })
	if !b.nats.ReadyForConnections(time.Minute) {
		tb.Fatal("nats-server is not ready after a minute")
	}
	nc, err := nats.Connect(b.nats.ClientURL())
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(nc.Close)
	if b.js, err = jetstream.New(nc); err != nil {
		tb.Fatal(err)
	}
	err = streams.Ensure(tb.Context(), b.js, streams.Options{Storage: jetstream.MemoryStorage}, slog.New(slog.DiscardHandler))
	if err != nil {
		tb.Fatal(err)
	}
}

// response is an answer, read to its end.
type response struct {
	status int
	header http.Header
	body   string
}

// client keeps no connection after a test, which would be a leak.
var client = &http.Client{
	Transport:     &http.Transport{DisableKeepAlives: true},
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
}

// do sends a request with the token and with headers given as name, value
// pairs. It may be called by any goroutine.
func (b *bed) do(tb testing.TB, method, path, body string, headers ...string) response {
	tb.Helper()
	r, err := http.NewRequestWithContext(tb.Context(), method, b.url+path, strings.NewReader(body))
	if err != nil {
		tb.Error(err)
		return response{}
	}
	r.Header.Set("Authorization", "Bearer "+token)
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	resp, err := client.Do(r)
	if err != nil {
		tb.Error(err)
		return response{}
	}
	defer resp.Body.Close() //nolint:errcheck // only read
	got, err := io.ReadAll(resp.Body)
	if err != nil {
		tb.Error(err)
	}
	return response{resp.StatusCode, resp.Header, string(got)}
}

// want fails the test unless r has the status; it returns r.
func (r response) want(tb testing.TB, status int) response {
	tb.Helper()
	if r.status != status {
		tb.Fatalf("status %d, want %d: %s", r.status, status, r.body)
	}
	return r
}

// decode reads the body into p, by Go's own JSON.
func (r response) decode(tb testing.TB, p any) {
	tb.Helper()
	if err := json.Unmarshal([]byte(r.body), p); err != nil {
		tb.Fatalf("%v in %s", err, r.body)
	}
}

// problem is what tests read of a problem document.
type problemText struct {
	Type, Field, Detail string
	Status              int
	Errors              []struct{ Field, Detail string }
}

func (r response) problem(tb testing.TB) problemText {
	tb.Helper()
	if got := r.header.Get("Content-Type"); got != "application/problem+json" {
		tb.Errorf("Content-Type %q, want a problem: %s", got, r.body)
	}
	var p problemText
	r.decode(tb, &p)
	if p.Status != r.status || p.Detail == "" {
		tb.Errorf("status %d: %+v", r.status, p)
	}
	return p
}

func checkGolden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", "golden", name+".txt")
	if *update {
		if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got)\n%s", path, diff)
	}
}

// eventually polls until ok, for a minute at most.
func eventually(tb testing.TB, what string, ok func() bool) {
	tb.Helper()
	ticker := time.NewTicker(2 * time.Millisecond)
	defer ticker.Stop()
	deadline := time.After(time.Minute)
	for !ok() {
		select {
		case <-ticker.C:
		case <-deadline:
			tb.Fatalf("not within a minute: %s", what)
		}
	}
}

// startServer starts redis-server on the loopback; it ends with the test.
func startServer(t *testing.T, args ...string) (addr string) {
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
			"--port", port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", t.TempDir(),
		}, args...)...)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		ended := make(chan struct{})
		go func() {
			_ = cmd.Wait() // killed: the error says so
			close(ended)
		}()
		t.Cleanup(func() { _ = cmd.Process.Kill(); <-ended })
		if answers(t, addr, cmd.Process.Pid, ended) {
			return addr
		}
	}
	t.Fatal("redis-server does not start")
	return ""
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

// startCluster starts a Redis Cluster of one node that owns every slot.
func startCluster(t *testing.T) (addr string) {
	t.Helper()
	addr = startServer(t, "--cluster-enabled", "yes")
	rdb := redis.NewClient(&redis.Options{Addr: addr})
	defer rdb.Close() //nolint:errcheck // nothing is pending
	if err := rdb.ClusterAddSlotsRange(t.Context(), 0, 16383).Err(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the cluster is up", func() bool { return rdb.Set(t.Context(), "up", "1", time.Second).Err() == nil })
	return addr
}
