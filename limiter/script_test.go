package limiter

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"arrakis/limiter/redishealth"
	"arrakis/loadtest/testserver"
)

// event is one step of a trace: at a time, these IDs ask; want holds one verdict character each, as in allow.lua.
type event struct {
	at   time.Duration // on the clock of Redis, since the trace began; it may go back
	max  int64         // 0: as before
	ids  string        // space-separated
	want string
	left int64 // Remaining of the last verdict
}

// traces are told against window sizes from 1 s to 24 h.
var traces = []struct {
	name   string
	window time.Duration
	max    int64
	events []event
}{
	{"one permit a second", time.Second, 1, []event{
		{at: 0, ids: "a", want: "1"},
		{at: 999 * time.Millisecond, ids: "b", want: "0"},
		{at: time.Second, ids: "b", want: "1"},
		{at: 1999 * time.Millisecond, ids: "c", want: "0"},
		{at: 2 * time.Second, ids: "c", want: "1"},
	}},
	{"slides, does not jump", time.Minute, 3, []event{
		{at: 0, ids: "a", want: "1", left: 2},
		{at: 30 * time.Second, ids: "b c", want: "11", left: 0},
		{at: 59 * time.Second, ids: "d", want: "0"},
		{at: 60 * time.Second, ids: "d e", want: "10"},
		{at: 90 * time.Second, ids: "e f g", want: "110"},
	}},
	{"charged once", time.Minute, 2, []event{
		{at: 0, ids: "a a", want: "12", left: 1},
		{at: time.Second, ids: "b a c", want: "120"},
		{at: 2 * time.Second, ids: "c b a", want: "022"},
		{at: 60 * time.Second, ids: "b a", want: "21"},
	}},
	{"a day", 24 * time.Hour, 2, []event{
		{at: 0, ids: "a", want: "1", left: 1},
		{at: time.Hour, ids: "b c", want: "10"},
		{at: 24*time.Hour - time.Millisecond, ids: "c", want: "0"},
		{at: 24 * time.Hour, ids: "c d", want: "10"},
	}},
	{"a million a day", 24 * time.Hour, 1_000_000, []event{
		{at: 0, ids: "a b c", want: "111", left: 999_997},
		{at: 24*time.Hour - time.Millisecond, ids: "d", want: "1", left: 999_996},
		{at: 24 * time.Hour, ids: "e", want: "1", left: 999_998},
	}},
	{"downgrade and upgrade", time.Minute, 4, []event{
		{at: 0, ids: "a", want: "1", left: 3},
		{at: 1200 * time.Millisecond, ids: "b", want: "1", left: 2},
		{at: 2400 * time.Millisecond, ids: "c d", want: "11"},
		{at: 3 * time.Second, max: 2, ids: "e d", want: "02"},
		{at: 61_200 * time.Millisecond, ids: "e", want: "0"},
		{at: 62_400 * time.Millisecond, ids: "e", want: "1", left: 1},
		{at: 63 * time.Second, max: 5, ids: "f g h", want: "111", left: 1},
	}},
	{"clock steps back", time.Minute, 2, []event{
		{at: 10 * time.Minute, ids: "a b", want: "11"},
		{at: 0, ids: "c a", want: "02"},
		{at: time.Minute, ids: "c", want: "0"},
		{at: 11*time.Minute - time.Millisecond, ids: "c", want: "0"},
		{at: 11 * time.Minute, ids: "c", want: "1", left: 1},
	}},
	{"clock steps back over some", time.Minute, 3, []event{
		{at: time.Minute, ids: "a", want: "1", left: 2},
		{at: 30 * time.Second, ids: "b", want: "1", left: 1},
		{at: 90 * time.Second, ids: "c", want: "1", left: 1},
		{at: 90 * time.Second, ids: "d e", want: "10"},
		{at: 2 * time.Minute, ids: "e", want: "1"},
	}},
	{"clock steps forward", time.Minute, 1, []event{
		{at: 0, ids: "a", want: "1"},
		{at: 24 * time.Hour, ids: "b c", want: "10"},
	}},
}

// TestTraces tells each trace to a log, and to sub-windows: where admissions are made at the end of a sub-window, both
// decide alike.
func TestTraces(t *testing.T) {
	t.Parallel()
	testserver.BothRedises(t, func(t *testing.T, addr string) {
		tellTraces(t, addr, "log", production)
		tellTraces(t, addr, "sub-windows", sizes{log: 0, step: 512, fill: 64, most: 112, chunks: 16384})
	})
}

// tellTraces tells every trace to a key of its own.
func tellTraces(t *testing.T, addr, form string, n sizes) {
	t.Helper()
	for i, trace := range traces {
		clock := newTestClock()
		l := newLimiter(t, addr, settings{}, clock)
		l.scripts = newScripts(n)
		limit := Limit{Max: trace.max, Window: trace.window}
		key := fmt.Sprintf("comm_%03d:%s", i, form)
		for _, e := range trace.events {
			clock.millis.Store(year2100 + e.at.Milliseconds())
			if e.max != 0 {
				limit.Max = e.max
			}
			got, left := ask(t, l, key, limit, strings.Fields(e.ids)...)
			if got != e.want || left != e.left {
				t.Errorf("%s, %s: at %v %q: verdicts %s, left %d, want %s, %d", trace.name, form, e.at, e.ids, got, left, e.want, e.left)
			}
		}
	}
}

// ask returns the verdicts as the characters of allow.lua, and what the last one left.
func ask(t *testing.T, l *Limiter, key string, limit Limit, ids ...string) (verdicts string, left int64) {
	t.Helper()
	vs, err := l.Allow(context.Background(), key, limit, ids...)
	if err != nil {
		t.Fatalf("Allow: %v", err)
	}
	return spell(vs), vs[len(vs)-1].Remaining
}

// spell writes verdicts as the characters of allow.lua.
func spell(vs []Verdict) string {
	var b strings.Builder
	for _, v := range vs {
		switch {
		case v.Charged && v.Allowed:
			b.WriteByte(replyCharged)
		case v.Allowed:
			b.WriteByte(replyHeld)
		default:
			b.WriteByte(replyRejected)
		}
	}
	return b.String()
}

// timeline is a limiter with one key, of which a took a permit 10 s ago.
type timeline struct {
	t     *testing.T
	l     *Limiter
	clock *testClock
}

const (
	timelineKey = "comm_007:command"
	otherKey    = "comm_008:command"
)

// threeAMinute is the limit of a timeline's key.
var threeAMinute = Limit{Max: 3, Window: time.Minute}

func newTimeline(t *testing.T, addr string) *timeline {
	t.Helper()
	x := &timeline{t: t, clock: newTestClock()}
	x.l = newLimiter(t, addr, settings{}, x.clock)
	x.allow(threeAMinute, "a")
	x.clock.advance(10 * time.Second)
	return x
}

func (x *timeline) allow(limit Limit, ids ...string) []Verdict {
	x.t.Helper()
	vs, err := x.l.Allow(x.t.Context(), timelineKey, limit, ids...)
	if err != nil {
		x.t.Fatal(err)
	}
	return vs
}

func (x *timeline) check(key string, limit Limit) Verdict {
	x.t.Helper()
	v, err := x.l.Check(x.t.Context(), key, limit)
	if err != nil {
		x.t.Fatal(err)
	}
	return v
}

func (x *timeline) usages(queries ...Query) []Usage {
	x.t.Helper()
	us, err := x.l.Usages(x.t.Context(), queries)
	if err != nil {
		x.t.Fatal(err)
	}
	return us
}

// same compares what a test wants with what it got.
func same(t *testing.T, want, got any) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestVerdictTimes(t *testing.T) {
	t.Parallel()
	testserver.BothRedises(t, func(t *testing.T, addr string) {
		x := newTimeline(t, addr)
		same(t, []Verdict{
			{Allowed: true, Charged: true, Limit: 3, Remaining: 1, ResetAfter: 50 * time.Second},
			{Allowed: true, Limit: 3, Remaining: 1, ResetAfter: 50 * time.Second},
			{Allowed: true, Charged: true, Limit: 3, ResetAfter: 50 * time.Second},
			{Limit: 3, ResetAfter: 50 * time.Second, RetryAfter: 50 * time.Second},
		}, x.allow(threeAMinute, "b", "b", "c", "d"))
	})
}

// After a downgrade to 1 all three must leave, the last one 60 s from now.
func TestTimesAfterADowngrade(t *testing.T) {
	t.Parallel()
	testserver.BothRedises(t, func(t *testing.T, addr string) {
		x := newTimeline(t, addr)
		x.allow(threeAMinute, "b", "b", "c", "d")
		down := Limit{Max: 1, Window: time.Minute}
		want := Verdict{Limit: 1, ResetAfter: 50 * time.Second, RetryAfter: time.Minute}
		same(t, []Verdict{want}, x.allow(down, "d"))
		same(t, want, x.check(timelineKey, down))
		same(t, []Usage{
			{Used: 3, Limit: 1, ResetAfter: 50 * time.Second},
			{Limit: 3, Remaining: 3},
			{Limit: -1, Remaining: -1},
			{Used: 3, ResetAfter: 50 * time.Second},
		}, x.usages(
			Query{Key: timelineKey, Limit: down},
			Query{Key: otherKey, Limit: threeAMinute},
			Query{Key: timelineKey, Limit: Limit{Max: Unlimited, Window: time.Minute}},
			Query{Key: timelineKey, Limit: Limit{Max: 0, Window: time.Minute}},
		))
	})
}

// Neither Check nor Usage counts what has left and is not trimmed yet, and neither writes.
func TestLookingWritesNothing(t *testing.T) {
	t.Parallel()
	testserver.BothRedises(t, func(t *testing.T, addr string) {
		x := newTimeline(t, addr)
		x.allow(threeAMinute, "b", "b", "c", "d")
		x.clock.advance(55 * time.Second)
		same(t, Verdict{Allowed: true, Charged: true, Limit: 3, ResetAfter: 5 * time.Second}, x.check(timelineKey, threeAMinute))
		u, err := x.l.Usage(t.Context(), timelineKey, threeAMinute)
		if err != nil {
			t.Fatal(err)
		}
		same(t, Usage{Used: 2, Limit: 3, Remaining: 1, ResetAfter: 5 * time.Second}, u)
		if n := testserver.ConnectRedis(t, addr).ZCard(t.Context(), "ratelimit:"+timelineKey).Val(); n != 3 {
			t.Errorf("%d members after Check and Usage, want 3: they must not write", n)
		}
		same(t, Verdict{Allowed: true, Charged: true, Limit: 3, Remaining: 2, ResetAfter: time.Minute}, x.check(otherKey, threeAMinute))
	})
}

func TestNeverAsked(t *testing.T) {
	t.Parallel()
	l := newLimiter(t, "127.0.0.1:1", settings{}, nil) // nobody there
	for _, tt := range []struct {
		limit Limit
		want  Verdict
	}{
		{Limit{Max: Unlimited, Window: time.Minute}, Verdict{Allowed: true, Limit: -1, Remaining: -1}},
		{Limit{Max: 0, Window: time.Minute}, Verdict{RetryAfter: time.Minute}},
	} {
		vs, err := l.Allow(t.Context(), "comm_007:command", tt.limit, "a")
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]Verdict{tt.want}, vs); diff != "" {
			t.Errorf("Allow with max %d (-want +got):\n%s", tt.limit.Max, diff)
		}
		v, err := l.Check(t.Context(), "comm_007:command", tt.limit)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(tt.want, v); diff != "" {
			t.Errorf("Check with max %d (-want +got):\n%s", tt.limit.Max, diff)
		}
	}
}

func TestLargeBatch(t *testing.T) {
	t.Parallel()
	testserver.BothRedises(t, func(t *testing.T, addr string) {
		l := newLimiter(t, addr, settings{}, newTestClock())
		ids := make([]string, 3000) // several chunks of the script
		for i := range ids {
			ids[i] = fmt.Sprint("event-", i%2500)
		}
		got, left := ask(t, l, "comm_007:command", Limit{Max: 2400, Window: time.Minute}, ids...)
		want := strings.Repeat("1", 2400) + strings.Repeat("0", 100) + strings.Repeat("2", 500)
		if got != want || left != 0 {
			t.Errorf("verdicts of 3000 IDs differ, left %d", left)
		}
	})
}

func TestExpiry(t *testing.T) {
	t.Parallel()
	testserver.BothRedises(t, func(t *testing.T, addr string) {
		l := newLimiter(t, addr, settings{Options: Options{Prefix: "p:"}}, nil)
		if got, _ := ask(t, l, "k", Limit{Max: 1, Window: time.Hour}, "a"); got != "1" {
			t.Fatalf("verdict %s, want 1", got)
		}
		ttl := testserver.ConnectRedis(t, addr).PTTL(t.Context(), "p:k").Val()
		if ttl < 59*time.Minute || ttl > time.Hour+100*time.Millisecond {
			t.Errorf("key expires in %v, want its window of 1h", ttl)
		}
	})
}

// TestExpiryAfterStepBack: a key lives until its newest member leaves, not until the last admitted one does.
func TestExpiryAfterStepBack(t *testing.T) {
	t.Parallel()
	testserver.BothRedises(t, func(t *testing.T, addr string) {
		clock := newTestClock()
		l := newLimiter(t, addr, settings{}, clock)
		limit := Limit{Max: 2, Window: time.Minute}
		newest := time.UnixMilli(clock.millis.Load())
		ask(t, l, "k", limit, "a")
		clock.step(-time.Hour)
		if got, _ := ask(t, l, "k", limit, "b"); got != "1" {
			t.Fatalf("verdict %s, want 1", got)
		}
		want := time.Until(newest.Add(limit.Window))
		if ttl := testserver.ConnectRedis(t, addr).PTTL(t.Context(), "ratelimit:k").Val(); (ttl - want).Abs() > 10*time.Second {
			t.Errorf("key expires in %v, want %v", ttl, want)
		}
	})
}

func TestResetAndRelease(t *testing.T) {
	t.Parallel()
	testserver.BothRedises(t, func(t *testing.T, addr string) {
		l := newLimiter(t, addr, settings{}, newTestClock())
		limit := Limit{Max: 2, Window: time.Minute}
		step := func(want string, ids ...string) {
			t.Helper()
			if got, _ := ask(t, l, "k", limit, ids...); got != want {
				t.Errorf("%v: verdicts %s, want %s", ids, got, want)
			}
		}
		step("110", "a", "b", "c")
		if err := l.Release(t.Context(), "k", "b", "nobody"); err != nil {
			t.Fatal(err)
		}
		step("102", "c", "b", "a")
		if err := l.Reset(t.Context(), "k"); err != nil {
			t.Fatal(err)
		}
		step("110", "b", "a", "c")
	})
}

// TestResetPrefix: a prefix is text, also where it holds what means something in a pattern of SCAN.
func TestResetPrefix(t *testing.T) {
	t.Parallel()
	testserver.BothRedises(t, func(t *testing.T, addr string) {
		l := newLimiter(t, addr, settings{}, newTestClock())
		limit := Limit{Max: 1, Window: time.Minute}
		keys := []string{"c[1]*/ann", "c[1]*/bob", "c1x/ann", "c1*/ann", `c[1]\*/ann`, "a/c[1]*/ann"}
		for _, key := range keys {
			ask(t, l, key, limit, "before")
		}
		if err := l.ResetPrefix(t.Context(), "c[1]*/"); err != nil {
			t.Fatal(err)
		}
		for i, key := range keys {
			want := "0"
			if i < 2 {
				want = "1"
			}
			if got, _ := ask(t, l, key, limit, "after"); got != want {
				t.Errorf("%s: verdict %s after the reset, want %s", key, got, want)
			}
		}
	})
}

func TestScriptFlush(t *testing.T) {
	t.Parallel()
	testserver.BothRedises(t, func(t *testing.T, addr string) {
		l := newLimiter(t, addr, settings{}, newTestClock())
		rdb := testserver.ConnectRedis(t, addr)
		limit := Limit{Max: 2, Window: time.Minute}
		for i, want := range []string{"1", "1", "0"} {
			if err := rdb.ScriptFlush(t.Context()).Err(); err != nil {
				t.Fatal(err)
			}
			if got, _ := ask(t, l, "k", limit, fmt.Sprint("id-", i)); got != want {
				t.Errorf("message %d: verdict %s, want %s", i, got, want)
			}
		}
		if l.Degraded() {
			t.Error("degraded by an unknown script")
		}
	})
}

func TestWrongType(t *testing.T) {
	t.Parallel()
	testserver.BothRedises(t, func(t *testing.T, addr string) {
		var logged logLines
		l := newLimiter(t, addr, settings{Options{Logger: logged.logger()}, redishealth.Options{Failures: 1}}, newTestClock())
		if err := testserver.ConnectRedis(t, addr).Set(t.Context(), "ratelimit:bad", "text", 0).Err(); err != nil {
			t.Fatal(err)
		}
		limit := Limit{Max: 1, Window: time.Minute}
		bad, good := NewWindow("bad"), NewWindow("good")
		for range 3 {
			batch := []*Request{
				{Window: bad, Limit: limit, ID: "a"},
				{Window: good, Limit: limit, ID: "a", Repeated: true},
				{Window: bad, Limit: limit, ID: "b"},
			}
			if err := l.AllowBatch(t.Context(), batch); err != nil {
				t.Fatal(err)
			}
			a, g, b := batch[0].Verdict, batch[1].Verdict, batch[2].Verdict
			if !a.Allowed || !a.Degraded || b.Allowed || !b.Degraded || !g.Allowed || g.Degraded {
				t.Errorf("bad %+v %+v, good %+v: want the bad key limited in memory, the good one by Redis", a, b, g)
			}
		}
		if l.Degraded() {
			t.Error("one unusable key counts for all")
		}
		if n := logged.count("key=ratelimit:bad"); n != 1 {
			t.Errorf("the key is logged %d times, want 1", n)
		}
		if !l.fallback.idle() {
			t.Error("admissions of the bad key wait for a merge that cannot be")
		}
	})
}

func TestInvalidRequests(t *testing.T) {
	t.Parallel()
	l := newLimiter(t, "127.0.0.1:1", settings{}, nil)
	minute := Limit{Max: 1, Window: time.Minute}
	for name, r := range map[string]*Request{
		"no window": {Limit: minute, ID: "a"},
		"no ID":     {Window: NewWindow("k"), Limit: minute},
		"mark":      {Window: NewWindow("k"), Limit: minute, ID: "\x01a"},
		"max":       {Window: NewWindow("k"), Limit: Limit{Max: -2, Window: time.Minute}, ID: "a"},
		"short":     {Window: NewWindow("k"), Limit: Limit{Max: 1, Window: time.Millisecond}, ID: "a"},
		"long":      {Window: NewWindow("k"), Limit: Limit{Max: 1, Window: 25 * time.Hour}, ID: "a"},
		"fraction":  {Window: NewWindow("k"), Limit: Limit{Max: 1, Window: time.Second + 1}, ID: "a"},
	} {
		if err := l.AllowBatch(t.Context(), []*Request{r}); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if _, err := l.Check(t.Context(), "k", Limit{}); err == nil {
		t.Error("Check takes the zero limit")
	}
	if _, err := l.Usage(t.Context(), "k", Limit{}); err == nil {
		t.Error("Usage takes the zero limit")
	}
}
