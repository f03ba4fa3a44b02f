package limiter

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"arrakis/loadtest/testserver"
)

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
