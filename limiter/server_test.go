package limiter

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"

	"arrakis/limiter/redishealth"
)

// longTests asks for the full length of the property tests.
var longTests = os.Getenv("ARRAKIS_LONG_TESTS") == "1"

func TestMain(m *testing.M) {
	flag.Parse()
	redis.SetLogger(quietLogger{}) // outages are what these tests are about
	if longTests {
		if err := flag.Set("rapid.checks", "3000"); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(2)
		}
	}
	goleak.VerifyTestMain(m)
}

// quietLogger drops what the client logs by itself.
type quietLogger struct{}

func (quietLogger) Printf(context.Context, string, ...any) {}

// testServer is a Redis to test against.
type testServer struct {
	t     *testing.T // of onEveryRedis, else nil
	addr  string
	args  []string
	cmd   *exec.Cmd     // nil for a miniredis
	ended chan struct{} // closed when cmd has ended
}

// redises start the servers that tests run against, by name: a miniredis and a redis-server.
var redises = map[string]func(testing.TB) *testServer{
	"miniredis": func(tb testing.TB) *testServer {
		tb.Helper()
		return &testServer{addr: miniredis.RunT(tb).Addr()}
	},
	"redis-server": func(tb testing.TB) *testServer {
		tb.Helper()
		return startRedis(tb)
	},
}

// onEveryRedis runs a test against each of redises.
func onEveryRedis(t *testing.T, test func(*testServer)) {
	t.Helper()
	t.Parallel()
	for name, start := range redises {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := start(t)
			s.t = t
			test(s)
		})
	}
}

// startRedis starts a redis-server with an append-only file on the loopback. Without the program the test is skipped at
// home and fails in CI. Settings are further arguments of the program.
func startRedis(tb testing.TB, settings ...string) *testServer {
	tb.Helper()
	path, err := exec.LookPath("redis-server")
	if err != nil {
		if os.Getenv("CI") != "" {
			tb.Fatal("redis-server is not on PATH")
		}
		tb.Skip("redis-server is not on PATH")
	}
	dir := tb.TempDir()
	s := &testServer{}
	tb.Cleanup(s.kill)
	for range 10 {
		port := anyPort()
		s.addr = net.JoinHostPort("127.0.0.1", port)
		s.args = []string{path, "--bind", "127.0.0.1", "--port", port, "--dir", dir, "--save", "", "--appendonly", "yes", "--appendfsync", "no"}
		s.args = append(s.args, settings...)
		if s.start(tb) {
			return s
		}
	}
	tb.Fatal("redis-server does not start")
	return nil
}

// start starts the server's process and waits until that answers, which another on its port might do as well. It reports
// false if the process has ended, as it does when the port is taken.
func (s *testServer) start(tb testing.TB) bool {
	tb.Helper()
	cmd, ended := exec.Command(s.args[0], s.args[1:]...), make(chan struct{})
	if err := cmd.Start(); err != nil {
		tb.Fatalf("start redis-server: %v", err)
	}
	go func() {
		_ = cmd.Wait() // says "killed"
		close(ended)
	}()
	s.cmd, s.ended = cmd, ended
	client := s.client(tb)
	own := fmt.Sprintf("\r\nprocess_id:%d\r\n", cmd.Process.Pid)
	up := false
	poll(patience, func() bool {
		select {
		case <-ended:
			return true
		default:
			up = strings.Contains(client.Info(context.Background(), "server").Val(), own) && client.Ping(context.Background()).Err() == nil
			return up
		}
	})
	if !up {
		s.kill()
	}
	return up
}

// kill ends the server's process at once, as a crash does.
func (s *testServer) kill() {
	if s.cmd == nil {
		return
	}
	_ = s.cmd.Process.Kill() // it may have ended
	<-s.ended
	s.cmd = nil
}

// anyPort returns a port below those that the system hands out, and so is that of a cluster's bus, 10,000 above: no
// connection takes them before a server does. That it is free is known when the server answers.
func anyPort() string { return strconv.Itoa(10_000 + rand.IntN(10_000)) }

// client returns a client of the server that ends with the test.
func (s *testServer) client(tb testing.TB) *redis.Client {
	tb.Helper()
	return clientOf(tb, s.addr)
}

func clientOf(tb testing.TB, addr string) *redis.Client {
	tb.Helper()
	c := redis.NewClient(&redis.Options{
		Addr: addr, ContextTimeoutEnabled: true, DialTimeout: patience, ReadTimeout: patience, DialerRetries: 1,
	})
	tb.Cleanup(func() { _ = c.Close() })
	return c
}

// poll waits until cond holds, for at most d, and reports whether it does.
func poll(d time.Duration, cond func() bool) bool {
	deadline := time.After(d)
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !cond() {
		select {
		case <-deadline:
			return cond()
		case <-tick.C:
		}
	}
	return true
}

// testClock is a clock that tests set: that of the scripts and that of the process.
type testClock struct {
	millis  atomic.Int64 // of Redis. Starts in the year 2100, so that no key expires by the server's own clock
	elapsed atomic.Int64 // of the process, ms
	base    time.Time
}

const year2100 = 4_102_444_800_000

func newTestClock() *testClock {
	c := &testClock{base: time.Now()}
	c.millis.Store(year2100)
	return c
}

// advance lets time pass on both clocks.
func (c *testClock) advance(d time.Duration) {
	c.millis.Add(d.Milliseconds())
	c.elapsed.Add(d.Milliseconds())
}

// step sets the clock of Redis forward or back.
func (c *testClock) step(d time.Duration) { c.millis.Add(d.Milliseconds()) }

func (c *testClock) now() time.Time {
	return c.base.Add(time.Duration(c.elapsed.Load()) * time.Millisecond)
}

// settings are the options of a limiter and those of its Health.
type settings struct {
	Options
	health redishealth.Options
}

// newLimiter returns a limiter on its own client of the address; with a clock it follows that.
func newLimiter(t *testing.T, addr string, o settings, c *testClock) *Limiter {
	t.Helper()
	return newLimiterOn(t, clientOf(t, addr), o, c)
}

// newLimiterOn returns a limiter on a client. It is patient unless the settings say otherwise: a machine that stalls is no
// outage.
func newLimiterOn(t *testing.T, rdb redis.UniversalClient, o settings, c *testClock) *Limiter {
	t.Helper()
	if o.Logger == nil {
		o.Logger = slog.New(slog.NewTextHandler(t.Output(), nil))
	}
	if o.Registerer == nil {
		o.Registerer = prometheus.NewRegistry()
	}
	o.health.Timeout = cmp.Or(o.health.Timeout, patience)
	o.health.Logger, o.health.Registerer = o.Logger, o.Registerer
	var err error
	if o.Health, err = redishealth.New(rdb, o.health); err != nil {
		t.Fatal(err)
	}
	l, err := New(rdb, o.Options)
	if err != nil {
		t.Fatal(err)
	}
	if c != nil {
		l.clock, l.now, l.start = c.millis.Load, c.now, c.base
	}
	return l
}

// run runs the limiter until the test ends.
func run(t *testing.T, l *Limiter) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := l.Run(ctx); err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	t.Cleanup(func() { cancel(); wg.Wait() })
}

// lose makes Redis count as away, whatever it is.
func lose(tb testing.TB, l *Limiter) {
	tb.Helper()
	for !l.Degraded() {
		_ = l.health.Do(context.Background(), func(context.Context) error { return errors.New("connection lost") })
	}
}

// find probes Redis until it is found to be back, as Run does.
func find(t *testing.T, l *Limiter) {
	t.Helper()
	var err error
	if !poll(patience, func() bool {
		err = l.health.Recover(t.Context(), l.mergeAll)
		return !l.Degraded() && l.fallback.idle()
	}) {
		t.Fatalf("still degraded: %v", err)
	}
}

// proxy is a TCP proxy whose connections can be cut.
type proxy struct {
	target   string
	listener net.Listener
	wg       sync.WaitGroup

	mu    sync.Mutex // protects the fields below
	down  bool
	conns map[net.Conn]bool

	gate sync.RWMutex // held for writing: bytes do not pass
}

// newProxy starts a proxy to the target that ends with the test.
func newProxy(t *testing.T, target string) *proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{target: target, listener: l, conns: make(map[net.Conn]bool)}
	p.wg.Go(p.accept)
	t.Cleanup(func() {
		_ = l.Close()
		p.setDown(true)
		p.wg.Wait()
	})
	return p
}

func (p *proxy) addr() string { return p.listener.Addr().String() }

func (p *proxy) accept() {
	for {
		in, err := p.listener.Accept()
		if err != nil {
			return
		}
		out, err := net.Dial("tcp", p.target)
		if err != nil {
			_ = in.Close()
			continue
		}
		if !p.track(in, out) {
			continue
		}
		p.wg.Go(func() { p.copy(in, out) })
		p.wg.Go(func() { p.copy(out, in) })
	}
}

// track remembers the connections, or closes them while the proxy is down.
func (p *proxy) track(conns ...net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range conns {
		if p.down {
			_ = c.Close()
		} else {
			p.conns[c] = true
		}
	}
	return !p.down
}

func (p *proxy) copy(to, from net.Conn) {
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		if err != nil {
			break
		}
		p.gate.RLock()
		_, err = to.Write(buf[:n])
		p.gate.RUnlock()
		if err != nil {
			break
		}
	}
	_ = to.Close() // the other side is told by the close
	_ = from.Close()
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.conns, to)
	delete(p.conns, from)
}

// cut closes all connections, as a restart does; new ones are taken.
func (p *proxy) cut() {
	p.setDown(true)
	p.setDown(false)
}

// setDown cuts all connections and refuses new ones, or takes them again.
func (p *proxy) setDown(down bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.down = down
	if down {
		for c := range p.conns {
			_ = c.Close()
		}
	}
}

// hold lets no byte pass until the test ends: connections stay, answers do not come.
func (p *proxy) hold(t *testing.T) {
	t.Helper()
	p.gate.Lock()
	t.Cleanup(p.gate.Unlock)
}
