package limiter

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"arrakis/loadtest/testserver"
)

// tiny sizes let a few messages do what tens of thousands do in production: sub-windows above 3 permits, chunks of a
// few IDs, many steps.
var tiny = sizes{log: 3, step: 4, fill: 2, most: 1000, chunks: 64}

// newTinyLimiter returns a limiter with tiny sizes that follows the clock.
func newTinyLimiter(t *testing.T, addr string, n sizes, clock *testClock) *Limiter {
	t.Helper()
	l := newLimiter(t, addr, settings{}, clock)
	l.scripts = newScripts(n)
	return l
}

// TestW4BoundedTrim: 5,000 members of an older version leave the window at once. No call removes more than a step of
// them, none of them counts or makes its ID known, and they are all gone in the end.
func TestW4BoundedTrim(t *testing.T) {
	t.Parallel()
	testserver.BothRedises(t, func(t *testing.T, addr string) {
		for _, permits := range []int64{100, 1_000_000} {
			clock := newTestClock()
			l := newLimiter(t, addr, settings{}, clock)
			rdb := testserver.ConnectRedis(t, addr)
			limit := Limit{Max: permits, Window: time.Minute}
			key := fmt.Sprint("old:", permits)
			const old = 5000
			fillOldLog(t, rdb, "ratelimit:"+key, old, clock.millis.Load())
			clock.advance(limit.Window)
			card := int64(old + 1)
			for i := int64(1); i <= 20; i++ {
				vs, err := l.Allow(t.Context(), key, limit, fmt.Sprint("new-", i), fmt.Sprintf("old-%012d", old-i))
				if err != nil {
					t.Fatal(err)
				}
				if left := limit.Max - 2*i - 1; spell(vs) != "11" || vs[1].Remaining != left {
					t.Fatalf("limit %d, call %d: %s, %d left, want 11, %d", permits, i, spell(vs), vs[1].Remaining, left)
				}
				n := rdb.ZCard(t.Context(), "ratelimit:"+key).Val()
				if removed := card - n; removed > 1000 {
					t.Fatalf("limit %d: one call removed %d members, want at most 1,000", permits, removed)
				}
				card = n
			}
			if n := rdb.ZCount(t.Context(), "ratelimit:"+key, "0", fmt.Sprint(clock.millis.Load()-60_000)).Val(); n != 0 {
				t.Errorf("limit %d: %d members that left the window are still there", permits, n)
			}
		}
	})
}

// TestW4EmptyBacklog: when nothing counts any more, the key is unlinked as a whole.
func TestW4EmptyBacklog(t *testing.T) {
	t.Parallel()
	testserver.BothRedises(t, func(t *testing.T, addr string) {
		for _, permits := range []int64{100, 1_000_000} {
			clock := newTestClock()
			l := newLimiter(t, addr, settings{}, clock)
			rdb := testserver.ConnectRedis(t, addr)
			key := fmt.Sprint("gone:", permits)
			fillOldLog(t, rdb, "ratelimit:"+key, 5000, clock.millis.Load())
			clock.advance(time.Hour)
			if got, left := ask(t, l, key, Limit{Max: permits, Window: time.Minute}, "a"); got != "1" || left != permits-1 {
				t.Errorf("limit %d: verdict %s, %d left", permits, got, left)
			}
			if n := rdb.ZCard(t.Context(), "ratelimit:"+key).Val(); n > 3 {
				t.Errorf("limit %d: %d members, want only what the new admission needs", permits, n)
			}
		}
	})
}

// argsHook notes how many arguments a script call has at most.
type argsHook struct {
	redis.Hook
	most int
}

func (h *argsHook) DialHook(next redis.DialHook) redis.DialHook          { return next }
func (h *argsHook) ProcessHook(next redis.ProcessHook) redis.ProcessHook { return next }

func (h *argsHook) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		for _, c := range cmds {
			h.most = max(h.most, len(c.Args()))
		}
		return next(ctx, cmds)
	}
}

// TestW4BoundedCalls: a batch of any size is asked in calls of a bounded number of IDs.
func TestW4BoundedCalls(t *testing.T) {
	t.Parallel()
	testserver.BothRedises(t, func(t *testing.T, addr string) {
		for permits, most := range map[int64]int{maxLog: logIDs, maxLog + 1: subWindowIDs} {
			rdb := testserver.ConnectRedis(t, addr)
			h := &argsHook{}
			rdb.AddHook(h)
			l := newLimiterOn(t, rdb, settings{}, newTestClock())
			ids := make([]string, 1100)
			for i := range ids {
				ids[i] = fmt.Sprint("event-", i%1000)
			}
			got, left := ask(t, l, fmt.Sprint("k", permits), Limit{Max: permits, Window: time.Minute}, ids...)
			if want := strings.Repeat("1", 1000) + strings.Repeat("2", 100); got != want || left != permits-1000 {
				t.Errorf("limit %d: verdicts of 1,100 messages differ, %d left", permits, left)
			}
			if h.most > most+8 {
				t.Errorf("limit %d: a call has %d arguments, want at most %d IDs and a few others", permits, h.most, most)
			}
		}
	})
}

// TestW4Memory: a key remembers as many IDs as its chunks hold and no more. A message whose ID is forgotten is charged
// again, and the limit holds.
func TestW4Memory(t *testing.T) {
	t.Parallel()
	testserver.BothRedises(t, func(t *testing.T, addr string) {
		few := sizes{log: 3, step: 64, fill: 8, most: 16, chunks: 8}
		l := newTinyLimiter(t, addr, few, newTestClock())
		rdb := testserver.ConnectRedis(t, addr)
		limit := Limit{Max: 1000, Window: time.Minute}
		charged := 0
		for i := range 600 {
			got, _ := ask(t, l, "k", limit, fmt.Sprint("event-", i))
			charged += strings.Count(got, "1")
		}
		if got, _ := ask(t, l, "k", limit, "event-599", "event-598", "event-0"); got != "221" {
			t.Errorf("verdicts %s, want the newest known and the oldest charged again", got)
		}
		chunks, bytes := int64(0), 0
		for _, m := range rdb.ZRangeArgs(t.Context(), redis.ZRangeArgs{Key: "ratelimit:k", Start: "-1e9", Stop: "-1", ByScore: true}).Val() {
			chunks, bytes = chunks+1, bytes+len(m)
		}
		if chunks != int64(few.chunks) || bytes > few.chunks*((few.most+1)*12+16) {
			t.Errorf("%d bytes in %d chunks", bytes, chunks)
		}
		for i := 600; charged < 999; i++ {
			got, _ := ask(t, l, "k", limit, fmt.Sprint("event-", i))
			charged += strings.Count(got, "1")
		}
		if got, left := ask(t, l, "k", limit, "one more"); got != "0" || left != 0 {
			t.Errorf("verdict %s, %d left of a full window", got, left)
		}
	})
}

// TestW4BackToALog: some time after a limit was lowered, its key is a log again.
func TestW4BackToALog(t *testing.T) {
	t.Parallel()
	testserver.BothRedises(t, func(t *testing.T, addr string) {
		clock := newTestClock()
		l := newTinyLimiter(t, addr, tiny, clock)
		rdb := testserver.ConnectRedis(t, addr)
		large, small := Limit{Max: 30, Window: time.Second}, Limit{Max: 2, Window: time.Second}
		for i := range 30 {
			ask(t, l, "k", large, fmt.Sprint("event-", i))
		}
		if got, _ := ask(t, l, "k", small, "event-29", "new"); got != "20" {
			t.Errorf("verdicts %s right after the limit was lowered, want 20", got)
		}
		for range 20 {
			clock.advance(600 * time.Millisecond)
			w := fmt.Sprint("at-", clock.millis.Load())
			if got, _ := ask(t, l, "k", small, w); clock.millis.Load() > year2100+1010 && got != "1" {
				t.Errorf("%s: verdict %s", w, got)
			}
		}
		for _, m := range rdb.ZRangeWithScores(t.Context(), "ratelimit:k", 0, -1).Val() {
			if m.Score < 0 {
				t.Errorf("member %q with score %v is left", m.Member, m.Score)
			}
		}
	})
}

// TestW4Sweep: Redis stands still while it deletes a large key that expires. So a process unlinks the key when nothing
// counts any more, and the key expires only later.
func TestW4Sweep(t *testing.T) {
	t.Parallel()
	testserver.BothRedises(t, func(t *testing.T, addr string) {
		clock := newTestClock()
		l := newLimiter(t, addr, settings{}, clock)
		other := newLimiter(t, addr, settings{}, clock)
		rdb := testserver.ConnectRedis(t, addr)
		limit := Limit{Max: 1_000_000, Window: time.Minute}
		ask(t, l, "k", limit, "a")
		ask(t, l, "small", Limit{Max: 100, Window: time.Minute}, "a")
		if at := rdb.PExpireTime(t.Context(), "ratelimit:k").Val().Milliseconds(); at < clock.millis.Load()+2*60_000 {
			t.Errorf("the key expires at %d, want a minute after its window", at)
		}
		swept := func() bool {
			l.sweep(t.Context())
			return rdb.Exists(t.Context(), "ratelimit:k").Val() == 0
		}
		clock.advance(30 * time.Second)
		ask(t, other, "k", limit, "b")
		for _, pass := range []time.Duration{0, 31 * time.Second, 28 * time.Second} {
			clock.advance(pass)
			if swept() {
				t.Fatalf("swept while b counts")
			}
		}
		clock.advance(time.Second)
		if !swept() {
			t.Error("not swept after b has left the window")
		}
		if len(l.sweeper.due) != 0 || rdb.Exists(t.Context(), "ratelimit:small").Val() != 1 {
			t.Errorf("due %v; a small limit is left to its expiry", l.sweeper.due)
		}
	})
}

// TestW4SwitchUnderLoad: processes ask for one key at once while some of them see a limit that is a log and others one
// that has sub-windows. As many messages are admitted as the higher limit has permits, and each is charged once.
func TestW4SwitchUnderLoad(t *testing.T) {
	t.Parallel()
	addr := testserver.Redis(t).Addr() // miniredis sorts a whole set for each look at it
	limits := []Limit{{Max: maxLog - 1000, Window: time.Hour}, {Max: maxLog + 1000, Window: time.Hour}}
	const batches, size = 16, 500
	var charged, held atomic.Int64
	ask := func(l *Limiter, limit Limit, ids []string) {
		vs, err := l.Allow(t.Context(), "k", limit, ids...)
		if err != nil {
			t.Error(err)
			return
		}
		charged.Add(int64(strings.Count(spell(vs), "1")))
		held.Add(int64(strings.Count(spell(vs), "2")))
	}
	var wg sync.WaitGroup
	limiters := make([]*Limiter, 4)
	for p := range limiters {
		limiters[p] = newLimiter(t, addr, settings{}, nil)
		wg.Go(func() {
			for b := range batches {
				ask(limiters[p], limits[(p+b)%2], batchIDs(p, b, size))
			}
		})
	}
	wg.Wait()
	if n := charged.Load(); n != limits[1].Max || held.Load() != 0 {
		t.Fatalf("%d admitted of a limit of %d, %d of them as if they held a permit", n, limits[1].Max, held.Load())
	}
	for p, l := range limiters {
		for b := range batches {
			ask(l, limits[b%2], batchIDs(p, b, size))
		}
	}
	if charged.Load() != limits[1].Max || held.Load() != limits[1].Max {
		t.Errorf("when all come again: %d charged, %d known, want %d each", charged.Load(), held.Load(), limits[1].Max)
	}
}

// batchIDs are the event IDs of one process's batch.
func batchIDs(process, batch, n int) []string {
	ids := make([]string, n)
	for i := range ids {
		ids[i] = fmt.Sprintf("event-%d-%d-%d", process, batch, i)
	}
	return ids
}
