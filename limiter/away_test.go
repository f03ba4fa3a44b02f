package limiter

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"arrakis/limiter/redishealth"
	"arrakis/loadtest/testserver"
)

// quick are options by which an outage is seen and over at once. A machine that stalls is none.
func quick(p Policy) settings {
	return settings{
		Options: Options{OnRedisDown: p},
		health:  redishealth.Options{Failures: 1, ProbeInterval: 10 * time.Millisecond},
	}
}

// outage is a limiter behind a proxy that can be cut.
type outage struct {
	t     *testing.T
	l     *Limiter
	proxy *testserver.TCPProxy
	log   *testserver.Output
}

func newOutage(t *testing.T, addr string, o settings) *outage {
	t.Helper()
	log := new(testserver.Output)
	o.Logger = log.Logger()
	p := testserver.Proxy(t, addr)
	l := newLimiter(t, p.Addr(), o, nil)
	run(t, l)
	return &outage{t: t, l: l, proxy: p, log: log}
}

// want asks and compares the verdicts as spelled.
func (o *outage) want(want string, limit Limit, ids ...string) []Verdict {
	o.t.Helper()
	vs, err := o.l.Allow(context.Background(), "k", limit, ids...)
	if err != nil {
		o.t.Fatal(err)
	}
	if got := spell(vs); got != want {
		o.t.Errorf("%v: verdicts %s, want %s", ids, got, want)
	}
	return vs
}

// back waits until Redis is used again.
func (o *outage) back() {
	o.t.Helper()
	testserver.Eventually(o.t, "Redis is used again", func() bool { return !o.l.Degraded() && o.l.fallback.idle() })
}

// members returns how many permits of k Redis holds.
func members(t *testing.T, addr string) int64 {
	t.Helper()
	n, err := testserver.ConnectRedis(t, addr).ZCard(t.Context(), "ratelimit:k").Result()
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestAwayLocal(t *testing.T) {
	t.Parallel()
	testserver.BothRedises(t, func(t *testing.T, addr string) {
		o := newOutage(t, addr, quick(Local))
		limit := Limit{Max: 4, Window: time.Hour}
		o.want("11", limit, "a", "b")
		o.proxy.Refuse()
		// It knows a and b from before, charges c and d once, and no more.
		o.want("2121202", limit, "a", "c", "b", "d", "c", "e", "d")
		if !o.l.Degraded() || metric(t, o.l, "arrakis_limiter_degraded") != 1 {
			t.Error("not degraded while Redis is away")
		}
		last := o.want("0", limit, "f")[0]
		want := Verdict{Limit: 4, ResetAfter: time.Hour, RetryAfter: time.Hour, Degraded: true}
		if diff := cmp.Diff(want, last, approxDuration(time.Minute)); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		u, err := o.l.Usage(t.Context(), "k", limit)
		if err != nil || u.Used != 4 || !u.Degraded {
			t.Errorf("Usage %+v, %v, want 4 used, degraded", u, err)
		}
		v, err := o.l.Check(t.Context(), "k", limit)
		if err != nil || v.Allowed || !v.Degraded {
			t.Errorf("Check %+v, %v, want a degraded reject", v, err)
		}
		if n := members(t, addr); n != 2 {
			t.Errorf("Redis holds %d permits before the merge, want 2", n)
		}
		o.proxy.Accept()
		o.back()
		if n := members(t, addr); n != 4 {
			t.Errorf("Redis holds %d permits after the merge, want 4", n)
		}
		// Another process sees them.
		other := newLimiter(t, addr, settings{}, nil)
		if got, _ := ask(t, other, "k", limit, "c", "d", "f"); got != "220" {
			t.Errorf("verdicts of another process %s, want 220", got)
		}
		if n := testutil.ToFloat64(o.l.m.merged); n != 2 {
			t.Errorf("%v merged, want 2", n)
		}
		if a, b := o.log.Count("redis is away"), o.log.Count("redis is back"); a != 1 || b != 1 {
			t.Errorf("the change is logged %d and %d times, want once each", a, b)
		}
	})
}

// approxDuration takes durations for equal that differ by less than d.
func approxDuration(d time.Duration) cmp.Option {
	return cmp.Comparer(func(a, b time.Duration) bool { return (a - b).Abs() < d })
}

func TestAwayOpen(t *testing.T) {
	t.Parallel()
	testserver.BothRedises(t, func(t *testing.T, addr string) {
		o := newOutage(t, addr, quick(Open))
		limit := Limit{Max: 2, Window: time.Hour}
		w := NewWindow("k")
		batch := []*Request{{Window: w, Limit: limit, ID: "a"}, {Window: w, Limit: limit, ID: "b"}}
		if err := o.l.AllowBatch(t.Context(), batch); err != nil {
			t.Fatal(err)
		}
		o.proxy.Refuse()
		o.want("1121", limit, "c", "d", "c", "e")
		full := &Request{Window: w, Limit: limit, ID: "f"}
		if err := o.l.AllowBatch(t.Context(), []*Request{full}); err != nil || !full.Verdict.Allowed || !full.Verdict.Degraded {
			t.Errorf("verdict %+v, %v of a window known to be full, want admitted", full.Verdict, err)
		}
		o.proxy.Accept()
		o.back()
		if n := members(t, addr); n != 4 {
			t.Errorf("Redis holds %d permits, want the 2 of before and the newest 2", n)
		}
		o.want("220", limit, "e", "f", "g")
	})
}

func TestAwayClosed(t *testing.T) {
	t.Parallel()
	testserver.BothRedises(t, func(t *testing.T, addr string) {
		o := newOutage(t, addr, quick(Closed))
		limit := Limit{Max: 2, Window: time.Hour}
		o.proxy.Refuse()
		v := o.want("0", limit, "a")[0]
		want := Verdict{Limit: 2, RetryAfter: 10 * time.Millisecond, Degraded: true, Unavailable: true}
		if diff := cmp.Diff(want, v); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		if _, err := o.l.Usage(t.Context(), "k", limit); !errors.Is(err, redishealth.ErrAway) {
			t.Errorf("Usage: %v, want ErrAway", err)
		}
		if v, err := o.l.Check(t.Context(), "k", limit); err != nil || !v.Unavailable {
			t.Errorf("Check %+v, %v, want unavailable", v, err)
		}
		if err := o.l.Reset(t.Context(), "k"); !errors.Is(err, redishealth.ErrAway) {
			t.Errorf("Reset: %v, want ErrAway", err)
		}
		if err := o.l.Release(t.Context(), "k", "a"); !errors.Is(err, redishealth.ErrAway) {
			t.Errorf("Release: %v, want ErrAway", err)
		}
		o.proxy.Accept()
		o.back()
		o.want("110", limit, "a", "b", "c")
	})
}

// TestCrash kills the server itself and starts it again on its append-only file.
func TestCrash(t *testing.T) {
	t.Parallel()
	s := testserver.Redis(t, onDisk...)
	l := newLimiter(t, s.Addr(), quick(Local), nil)
	run(t, l)
	limit := Limit{Max: 4, Window: time.Hour}
	if got, _ := ask(t, l, "k", limit, "a", "b"); got != "11" {
		t.Fatalf("verdicts %s, want 11", got)
	}
	s.Kill()
	if got, _ := ask(t, l, "k", limit, "a", "c"); got != "21" || !l.Degraded() {
		t.Errorf("verdicts %s, degraded %t, want 21, degraded", got, l.Degraded())
	}
	s.Start()
	testserver.Eventually(t, "Redis is used again", func() bool { return !l.Degraded() })
	if got, _ := ask(t, l, "k", limit, "c", "a", "d", "e"); got != "2210" {
		t.Errorf("verdicts after the crash %s, want 2210", got)
	}
}

// TestAwayWaitsForNothing: once Redis is known to be away, a message costs no time-out.
func TestAwayWaitsForNothing(t *testing.T) {
	t.Parallel()
	testserver.BothRedises(t, func(t *testing.T, addr string) {
		o := quick(Local)
		o.health.ProbeInterval = time.Hour // no probe in this test
		out := newOutage(t, addr, o)
		limit := Limit{Max: 10_000, Window: time.Hour}
		out.proxy.Refuse()
		out.want("1", limit, "first")
		trips := roundTrips(t, out.l)
		for i := range 1000 {
			out.want("1", limit, fmt.Sprint(i))
		}
		if n := roundTrips(t, out.l) - trips; n != 0 {
			t.Errorf("%v round trips while Redis is away, want none", n)
		}
	})
}

func TestReleaseAndResetWhileAway(t *testing.T) {
	t.Parallel()
	testserver.BothRedises(t, func(t *testing.T, addr string) {
		o := newOutage(t, addr, quick(Local))
		limit := Limit{Max: 2, Window: time.Hour}
		o.proxy.Refuse()
		o.want("110", limit, "a", "b", "c")
		if err := o.l.Release(t.Context(), "k", "b"); err != nil {
			t.Errorf("release of a permit that Redis never saw: %v", err)
		}
		o.want("10", limit, "c", "d")
		o.l.ForgetLocal("k")
		o.want("1", limit, "e")
		o.proxy.Accept()
		o.back()
		o.want("210", limit, "e", "f", "g")
	})
}

// TestForgetLocalPrefix: the keys that begin with the prefix are forgotten, and what of them waits for the merge.
func TestForgetLocalPrefix(t *testing.T) {
	t.Parallel()
	l := newLimiter(t, "127.0.0.1:1", quick(Local), newTestClock())
	limit := Limit{Max: 1, Window: time.Hour}
	for _, key := range []string{"a:user/1", "a:user/2", "b:a:user/1", "a:user"} {
		if got, _ := ask(t, l, key, limit, "id"); got != "1" {
			t.Fatalf("%s: verdict %s, want 1", key, got)
		}
	}
	l.ForgetLocalPrefix("a:user/")
	if diff := cmp.Diff([]string{"b:a:user/1", "a:user"}, l.fallback.windows.Keys()); diff != "" || l.fallback.queued != 2 {
		t.Errorf("%d admissions queued, want 2; keys (-want +got):\n%s", l.fallback.queued, diff)
	}
}

func TestCallerGone(t *testing.T) {
	t.Parallel()
	testserver.BothRedises(t, func(t *testing.T, addr string) {
		o := newOutage(t, addr, quick(Local))
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := o.l.Allow(ctx, "k", Limit{Max: 1, Window: time.Hour}, "a"); !errors.Is(err, context.Canceled) {
			t.Errorf("Allow: %v, want context.Canceled", err)
		}
		ctx, cancel = context.WithTimeout(t.Context(), 20*time.Millisecond)
		defer cancel()
		o.proxy.Stall()
		if _, err := o.l.Allow(ctx, "k", Limit{Max: 1, Window: time.Hour}, "a"); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Allow: %v, want context.DeadlineExceeded", err)
		}
		if o.l.Degraded() {
			t.Error("a caller that gave up counts as an outage")
		}
	})
}

// TestTimeout: a Redis that takes connections and does not answer is away after Timeout.
func TestTimeout(t *testing.T) {
	t.Parallel()
	testserver.BothRedises(t, func(t *testing.T, addr string) {
		options := quick(Local)
		options.health.Timeout = 50 * time.Millisecond
		o := newOutage(t, addr, options)
		o.proxy.Stall()
		v := o.want("1", Limit{Max: 1, Window: time.Hour}, "a")[0]
		if !v.Degraded || !o.l.Degraded() {
			t.Errorf("verdict %+v, want degraded", v)
		}
	})
}

func TestBounds(t *testing.T) {
	t.Parallel()
	options := quick(Local)
	options.MaxKeys, options.MaxQueued = 2, 3
	l := newLimiter(t, "127.0.0.1:1", options, newTestClock())
	limit := Limit{Max: 10, Window: time.Hour}
	for i := range 4 {
		if got, _ := ask(t, l, fmt.Sprint("key-", i), limit, "a", "b"); got != "11" {
			t.Fatalf("verdicts %s, want 11", got)
		}
	}
	if l.fallback.windows.Len() != 2 || l.fallback.queued > 3 || len(l.fallback.waiting) > 2 {
		t.Errorf("%d windows, %d queued, %d queues, want at most 2, 3, 2", l.fallback.windows.Len(), l.fallback.queued, len(l.fallback.waiting))
	}
	if n := testutil.ToFloat64(l.m.mergeDropped); int(n)+l.fallback.queued != 8 {
		t.Errorf("%v dropped and %d queued, want 8 together", n, l.fallback.queued)
	}
}

func TestReadOnlyReplica(t *testing.T) {
	t.Parallel()
	s := testserver.Redis(t)
	rdb := s.Client(t)
	l := newLimiter(t, s.Addr(), quick(Local), nil)
	run(t, l)
	if err := rdb.Do(t.Context(), "REPLICAOF", "127.0.0.1", "1").Err(); err != nil {
		t.Fatal(err)
	}
	limit := Limit{Max: 1, Window: time.Hour}
	if got, _ := ask(t, l, "k", limit, "a"); got != "1" || !l.Degraded() {
		t.Errorf("verdict %s, degraded %t on a replica, want 1, degraded", got, l.Degraded())
	}
	if err := rdb.Do(t.Context(), "REPLICAOF", "NO", "ONE").Err(); err != nil {
		t.Fatal(err)
	}
	testserver.Eventually(t, "Redis is used again", func() bool { return !l.Degraded() })
	if got, _ := ask(t, l, "k", limit, "a", "b"); got != "20" {
		t.Errorf("verdicts %s, want 20", got)
	}
}
