package limiter

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"arrakis/loadtest/testserver"
)

// TestFewFailures: admissions of a failed round trip are merged though Redis never counted as away.
func TestFewFailures(t *testing.T) {
	t.Parallel()
	testserver.BothRedises(t, func(t *testing.T, addr string) {
		options := quick(Local)
		options.health.Failures = 1000
		o := newOutage(t, addr, options)
		o.proxy.Refuse()
		limit := Limit{Max: 3, Window: time.Hour}
		o.want("11", limit, "a", "b")
		if o.l.Degraded() {
			t.Error("degraded after one failure of 1000")
		}
		o.proxy.Accept()
		o.back()
		o.want("2210", limit, "a", "b", "c", "d")
	})
}

func TestMergeKeepsTime(t *testing.T) {
	t.Parallel()
	testserver.BothRedises(t, func(t *testing.T, addr string) {
		clock := newTestClock()
		p := testserver.Proxy(t, addr)
		l := newLimiter(t, p.Addr(), quick(Local), clock)
		limit := Limit{Max: 3, Window: time.Minute}
		p.Refuse()
		for _, id := range []string{"old", "mid", "new"} {
			if got, _ := ask(t, l, "k", limit, id); got != "1" {
				t.Fatalf("verdict %s, want 1", got)
			}
			clock.advance(25 * time.Second)
		}
		p.Accept()
		clock.step(-time.Hour) // the clock of Redis does not date what happened here
		direct := newLimiter(t, addr, settings{}, clock)
		clock.step(-5 * time.Second)
		ask(t, direct, "k", limit, "mid") // the round trip that seemed to fail had reached Redis
		clock.step(5 * time.Second)
		find(t, l)
		zs, err := testserver.ConnectRedis(t, addr).ZRangeWithScores(t.Context(), "ratelimit:k", 0, -1).Result()
		if err != nil {
			t.Fatal(err)
		}
		got := map[string]int64{}
		for _, z := range zs {
			got[z.Member.(string)] = int64(z.Score) - clock.millis.Load()
		}
		if diff := cmp.Diff(map[string]int64{"mid": -5_000, "new": -25_000}, got); diff != "" {
			t.Errorf("ages in ms after the merge (-want +got):\n%s", diff)
		}
	})
}

// TestMergeAll: every key is merged, also when that takes several round trips.
func TestMergeAll(t *testing.T) {
	t.Parallel()
	testserver.BothRedises(t, func(t *testing.T, addr string) {
		l := newLimiter(t, addr, quick(Local), nil)
		lose(t, l)
		limit := Limit{Max: 300, Window: time.Hour}
		ids := make([]string, limit.Max)
		for i := range ids {
			ids[i] = fmt.Sprint("id-", i)
		}
		keys := 2*mergeIDs/len(ids) + 1
		for i := range keys {
			ask(t, l, fmt.Sprint("key-", i), limit, ids...)
		}
		find(t, l)
		if n := roundTrips(t, l); n < 3 {
			t.Errorf("%v round trips, want 3 or more", n)
		}
		for i := range keys {
			if got, _ := ask(t, l, fmt.Sprint("key-", i), limit, ids[0], ids[len(ids)-1], "late"); got != "220" {
				t.Errorf("key-%d: verdicts %s after the merge, want 220", i, got)
			}
		}
	})
}

// TestMergeAgain: a merge whose answer was lost is sent again, and counts once.
func TestMergeAgain(t *testing.T) {
	t.Parallel()
	testserver.BothRedises(t, func(t *testing.T, addr string) {
		n := new(network)
		l := onNetwork(t, addr, settings{}, n)
		lose(t, l)
		limit := Limit{Max: 3, Window: time.Hour}
		if got, _ := ask(t, l, "k", limit, "a", "b"); got != "11" {
			t.Fatalf("verdicts %s without Redis, want 11", got)
		}
		l.health.Recover(t.Context())
		n.lose.Store(1)
		if got, _ := ask(t, l, "k", limit, "a", "c", "d"); got != "210" {
			t.Errorf("verdicts %s, want 210", got)
		}
		if !l.fallback.idle() || members(t, addr) != 3 {
			t.Errorf("%d unmerged, Redis holds %d, want none and 3", l.fallback.unmerged.Load(), members(t, addr))
		}
	})
}
