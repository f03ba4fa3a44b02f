package limiter

import (
	"cmp"
	"context"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"

	"arrakis/limiter/redishealth"
	"arrakis/loadtest/testserver"
)

// longTests asks for the full length of the property tests.
var longTests = os.Getenv("ARRAKIS_LONG_TESTS") == "1"

func TestMain(m *testing.M) {
	flag.Parse()
	if longTests {
		if err := flag.Set("rapid.checks", "3000"); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(2)
		}
	}
	// A closed client's pool that could not connect ends this goroutine within a second.
	testserver.WaitTogether()
	goleak.VerifyTestMain(testserver.M{M: m}, goleak.IgnoreAnyFunction("github.com/redis/go-redis/v9/internal/pool.(*ConnPool).tryDial"))
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
	return newLimiterOn(t, testserver.ConnectRedis(t, addr), o, c)
}

// newLimiterOn returns a limiter on a client. It is patient unless the settings say otherwise: a machine that stalls is
// no outage.
func newLimiterOn(t *testing.T, rdb redis.UniversalClient, o settings, c *testClock) *Limiter {
	t.Helper()
	if o.Logger == nil {
		o.Logger = slog.New(slog.NewTextHandler(t.Output(), nil))
	}
	if o.Registerer == nil {
		o.Registerer = prometheus.NewRegistry()
	}
	o.health.Timeout = cmp.Or(o.health.Timeout, testserver.Patience)
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

// lose makes Redis count as away, whatever it is: each of its nodes.
func lose(tb testing.TB, l *Limiter) {
	tb.Helper()
	for i := range 200 { // keys on every node
		_ = l.health.DoKey(context.Background(), fmt.Sprint(i), func(context.Context) error { return io.ErrUnexpectedEOF })
	}
	if !l.Degraded() {
		tb.Fatal("Redis is not away")
	}
}

// find probes Redis until it is found to be back, as Run does.
func find(t *testing.T, l *Limiter) {
	t.Helper()
	testserver.Succeeds(t, "Redis is found to be back", func() error {
		l.health.Recover(t.Context())
		l.mergeWaiting(t.Context())
		if l.Degraded() || !l.fallback.idle() {
			return fmt.Errorf("away %v, %d admissions unmerged", l.health.Nodes(), l.fallback.unmerged.Load())
		}
		return nil
	})
}

// onDisk are settings of a Redis that finds its keys again after a crash.
var onDisk = []string{"--appendonly", "yes", "--appendfsync", "no"}

// idle reports whether Run has nothing to do.
func (f *fallback) idle() bool { return f.unmerged.Load() == 0 && !f.health.Away() }
