package limiter

import (
	"cmp"
	"fmt"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"arrakis/loadtest/testserver"
)

// boosted is a limit of 2 with a boost of 2 permits that ends when the test clock has passed for so long.
func boosted(until time.Duration) Limit {
	return Limit{Max: 2, Window: time.Minute, Boost: 2, BoostUntil: year2100 + until.Milliseconds()}
}

// form is a limiter that a test of eachForm is run with.
type form struct {
	t     *testing.T
	l     *Limiter
	clock *testClock
}

// eachForm runs a test with a limiter that keeps a log, with one that counts sub-windows, and with one that has lost Redis
// after an answer. The clocks of the processes are some 70 years behind that of Redis, so none of them can be right by
// its own.
func eachForm(t *testing.T, test func(form)) {
	t.Helper()
	testserver.BothRedises(t, func(t *testing.T, addr string) {
		for i, name := range []string{"log", "sub-windows", "memory"} {
			t.Run(name, func(t *testing.T) {
				clock := newTestClock()
				l := newLimiter(t, addr, settings{Options: Options{Prefix: fmt.Sprint(i, ":")}}, clock)
				if name == "sub-windows" {
					l.scripts = newScripts(sizes{log: 0, step: 512, fill: 64, most: 112, chunks: 16384})
				}
				ask(t, l, "other", Limit{Max: 1, Window: time.Second}, "a")
				if name == "memory" {
					lose(t, l)
				}
				test(form{t, l, clock})
			})
		}
	})
}

// A boost ends while the process looks on, for everything that it can ask.
func TestBoostEnds(t *testing.T) {
	t.Parallel()
	eachForm(t, func(f form) {
		t, l, clock := f.t, f.l, f.clock
		limit := boosted(30 * time.Second)
		says := func(wantVerdicts string, permits int64) {
			t.Helper()
			vs, err := l.Allow(t.Context(), "k", limit, "a", "b", "c")
			if err != nil {
				t.Fatal(err)
			}
			v, err := l.Check(t.Context(), "k", limit)
			if err != nil {
				t.Fatal(err)
			}
			u, err := l.Usage(t.Context(), "k", limit)
			if err != nil {
				t.Fatal(err)
			}
			if got := spell(vs); got != wantVerdicts || vs[2].Limit != permits || v.Limit != permits || u.Limit != permits || u.Boost != permits-2 {
				t.Errorf("verdicts %s under a limit of %d, checked %d, usage %+v: want %s under %d", got, vs[2].Limit, v.Limit, u, wantVerdicts, permits)
			}
			if left := max(0, permits-3); vs[2].Remaining != left || u.Remaining != left || u.Used != 3 || v.Allowed != (left > 0) {
				t.Errorf("verdict %+v, checked %+v, usage %+v: want 3 used and %d left", vs[2], v, u, left)
			}
		}
		says("111", 4)
		clock.advance(30*time.Second - time.Millisecond)
		says("222", 4)
		clock.advance(time.Millisecond)
		says("222", 2)
	})
}

// A caller that is told when to come again finds a permit then, also if the boost has ended by then, and none before.
func TestRetryAfterLooksBeyondABoost(t *testing.T) {
	t.Parallel()
	none := Limit{Window: time.Minute, Boost: 4, BoostUntil: year2100 + 30_000}
	for _, tt := range []struct {
		name  string
		limit Limit
		want  time.Duration
	}{
		{"lasts longer", boosted(61 * time.Second), 40 * time.Second},                             // until a leaves
		{"ends when a permit would be free", boosted(60 * time.Second), 49600 * time.Millisecond}, // until c leaves
		{"ends before", boosted(30 * time.Second), 49600 * time.Millisecond},
		{"leaves no limit", none, time.Minute},
	} {
		eachForm(t, func(f form) {
			t, l, clock := f.t, f.l, f.clock
			key := tt.name
			ask(t, l, key, tt.limit, "a")
			clock.advance(6 * time.Second)
			ask(t, l, key, tt.limit, "b")
			clock.advance(3600 * time.Millisecond)
			ask(t, l, key, tt.limit, "c", "d")
			clock.advance(10400 * time.Millisecond)
			vs, err := l.Allow(t.Context(), key, tt.limit, "e")
			if err != nil {
				t.Fatal(err)
			}
			checked, err := l.Check(t.Context(), key, tt.limit)
			if err != nil {
				t.Fatal(err)
			}
			if v := vs[0]; v.Allowed || v.RetryAfter != tt.want || checked.RetryAfter != tt.want || v.Limit != tt.limit.highest() {
				t.Errorf("%s: verdict %+v, checked %+v: want RetryAfter %v", tt.name, v, checked, tt.want)
			}
			reservation := &Reservation{Key: key, Limit: tt.limit, ID: ReservedID("e"), Most: 1, Longest: time.Hour}
			if err := l.Reserve(t.Context(), []*Reservation{reservation}); err != nil {
				t.Fatal(err)
			}
			answer, wait := Granted, tt.want
			switch {
			case l.Degraded():
				answer, wait = Unanswered, 0
			case tt.limit.Max == 0:
				answer = Full
			}
			if reservation.Answer != answer || reservation.Wait != wait {
				t.Errorf("%s: reservation %+v, want %d and a wait of %v", tt.name, reservation, answer, wait)
			}
		})
	}
}

// Two processes whose clocks are years apart see a boost end at the same time: when the clock of Redis says so.
func TestBoostEndsByTheClockOfRedis(t *testing.T) {
	t.Parallel()
	addr := testserver.Redis(t).Addr()
	rdb := testserver.ConnectRedis(t, addr)
	limiters := make([]*Limiter, 2)
	for i, off := range []time.Duration{-1000 * time.Hour, 1000 * time.Hour} {
		l := newLimiter(t, addr, settings{}, nil)
		l.now = func() time.Time { return time.Now().Add(off) }
		l.start = l.now()
		limiters[i] = l
	}
	for round := 0; ; round++ { // until the machine was fast enough to ask before the end
		if endsForAll(t, rdb, limiters, fmt.Sprint(round)) > 0 {
			return
		}
	}
}

// endsForAll watches a boost of a key end. It returns how many answers came before the end.
func endsForAll(t *testing.T, rdb *redis.Client, limiters []*Limiter, key string) (before int) {
	t.Helper()
	redisNow := func() int64 {
		now, err := rdb.Time(t.Context()).Result()
		if err != nil {
			t.Fatal(err)
		}
		return now.UnixMilli()
	}
	limit := Limit{Max: 1, Window: time.Minute, Boost: 1_000_000, BoostUntil: redisNow() + 300}
	asks, after := 0, 0
	testserver.Eventually(t, "the boost has ended", func() bool {
		for i, l := range limiters {
			asks++
			asked := redisNow()
			vs, err := l.Allow(t.Context(), key, limit, fmt.Sprint(asks))
			if err != nil {
				t.Fatal(err)
			}
			answered := redisNow()
			switch v := vs[0]; {
			case answered < limit.BoostUntil:
				before++
				if !v.Allowed || v.Limit != limit.highest() {
					t.Fatalf("process %d, %d ms before the end: %+v", i, limit.BoostUntil-answered, v)
				}
			case asked >= limit.BoostUntil:
				after++
				if before > 0 && v.Allowed || v.Limit != limit.Max {
					t.Fatalf("process %d, %d ms after the end: %+v", i, asked-limit.BoostUntil, v)
				}
			}
		}
		return after >= 2*len(limiters)
	})
	return before
}

// A window that was full with a boost stays full after it, without a question to Redis, and says which limit is in force.
// Another boost, or none, asks Redis again.
func TestLocalBlockOutlastsItsBoost(t *testing.T) {
	t.Parallel()
	limit := boosted(30 * time.Second)
	full := standing{count: 4, limit: 4, boostLeft: 20 * time.Second, resetAfter: 40 * time.Second, retryAfter: 50 * time.Second}
	sent := time.Now()
	w := NewWindow("k")
	w.learn(limit, full, sent, sent)
	for after, permits := range map[time.Duration]int64{0: 4, 20*time.Second - 1: 4, 20 * time.Second: 2, 49 * time.Second: 2} {
		v, known := w.Reject(limit, sent.Add(after))
		if !known || v.Limit != permits || v.RetryAfter != 50*time.Second-after || v.Remaining != 0 {
			t.Errorf("after %v: %+v, %v, want a reject under a limit of %d", after, v, known, permits)
		}
	}
	longer, more, without := limit, limit, Limit{Max: 2, Window: time.Minute}
	longer.BoostUntil++
	more.Boost++
	for _, other := range []Limit{longer, more, without} {
		if _, known := w.Reject(other, sent); known {
			t.Errorf("rejects for %+v, though it knows only %+v", other, limit)
		}
	}
	if _, known := w.Reject(limit, sent.Add(50*time.Second)); known {
		t.Error("rejects when a permit is free")
	}
}

// What a boost has left in a key costs Redis nothing, as long as its limit is full.
func TestFloodAfterABoostCostsNoCommand(t *testing.T) {
	t.Parallel()
	s := testserver.Redis(t)
	for name, base := range map[string]int64{"a limit": 2, "no limit": 0} {
		clock := newTestClock()
		l := newLimiter(t, s.Addr(), settings{}, clock)
		rdb := s.Client(t)
		limit := Limit{Max: base, Window: time.Minute, Boost: 2, BoostUntil: year2100 + 10_000}
		w := NewWindow(name)
		flood := func(phase string) (admitted int) {
			batch := make([]*Request, 100)
			for i := range batch {
				batch[i] = &Request{Window: w, Limit: limit, ID: fmt.Sprint(phase, i)}
			}
			if err := l.AllowBatch(t.Context(), batch); err != nil {
				t.Fatal(err)
			}
			for _, r := range batch {
				if r.Verdict.Allowed {
					admitted++
				}
			}
			return admitted
		}
		if n := flood("boosted"); int64(n) != base+2 {
			t.Errorf("%s: %d admitted with the boost, want %d", name, n, base+2)
		}
		if err := rdb.ConfigResetStat(t.Context()).Err(); err != nil {
			t.Fatal(err)
		}
		for range 59 {
			clock.advance(time.Second)
			if n := flood(fmt.Sprint(clock.millis.Load(), ":")); n != 0 {
				t.Errorf("%s: %d admitted of a flood above the limit", name, n)
			}
		}
		if calls := scriptCalls(t, rdb); calls != 0 {
			t.Errorf("%s: a flood above the limit ran %d scripts, want none", name, calls)
		}
		clock.advance(10 * time.Second)
		if n := flood("later"); int64(n) != base {
			t.Errorf("%s: %d admitted when the window was empty again, want %d", name, n, base)
		}
	}
}

// What is admitted by memory with a boost is merged, all of it, and counts against the limit without the boost.
func TestBoostInAnOutage(t *testing.T) {
	t.Parallel()
	testserver.BothRedises(t, func(t *testing.T, addr string) {
		clock := newTestClock()
		l := newLimiter(t, addr, settings{}, clock)
		limit := boosted(30 * time.Second)
		ask(t, l, "k", limit, "a")
		lose(t, l)
		if got, _ := ask(t, l, "k", limit, "b", "c", "d", "e"); got != "1110" {
			t.Errorf("verdicts %s without Redis, want 1110", got)
		}
		clock.advance(30 * time.Second)
		find(t, l)
		if n := members(t, addr); n != 4 {
			t.Errorf("Redis holds %d permits after the merge, want 4", n)
		}
		if got, _ := ask(t, l, "k", limit, "e", "d"); got != "02" {
			t.Errorf("verdicts %s after the boost, want 02", got)
		}
		closed := newLimiter(t, addr, settings{Options: Options{OnRedisDown: Closed}}, clock)
		ask(t, closed, "other", limit, "a")
		lose(t, closed)
		if vs, err := closed.Allow(t.Context(), "k", limit, "f"); err != nil || !vs[0].Unavailable || vs[0].Limit != 2 {
			t.Errorf("%+v, %v, want a refusal under a limit of 2", vs, err)
		}
	})
}

// A call for a boosted limit is as short as one for a limit that high, because it does the same work.
func TestBoostOverTheBorderMakesShortCalls(t *testing.T) {
	t.Parallel()
	for boost, want := range map[int64]int{maxLog - 10: logIDs, maxLog - 9: subWindowIDs} {
		limit := Limit{Max: 10, Window: time.Minute, Boost: boost, BoostUntil: 1}
		if n := callIDs(limit); n != want {
			t.Errorf("a call takes %d IDs with a boost to %d, want %d", n, limit.highest(), want)
		}
		if late := limit.longest() > limit.Window; late != (want == subWindowIDs) {
			t.Errorf("a boost to %d can count longer than its window: %v", limit.highest(), late)
		}
	}
}

func TestBoostIsValidated(t *testing.T) {
	t.Parallel()
	for _, l := range []Limit{{Boost: -1}, {Boost: maxBoost + 1}, {BoostUntil: -1}, {BoostUntil: maxBoost + 1}} {
		l.Window = cmp.Or(l.Window, time.Minute)
		if l.Validate() == nil {
			t.Errorf("%+v is accepted", l)
		}
	}
}

// When its boost has ended, a limit of 0 rejects by itself while Redis is away: the policy open does not admit what cannot be
// counted, and the policy closed does not say that the limit cannot be checked.
func TestBoostOfNothingEndsInAnOutage(t *testing.T) {
	t.Parallel()
	for _, policy := range []Policy{Open, Closed} {
		clock := newTestClock()
		l := newLimiter(t, testserver.Redis(t).Addr(), settings{Options: Options{OnRedisDown: policy}}, clock)
		limit := Limit{Window: time.Minute, Boost: 1, BoostUntil: year2100 + 30_000}
		ask(t, l, "other", limit, "a")
		lose(t, l)
		for _, ended := range []bool{false, true} {
			if ended {
				clock.advance(30 * time.Second)
			}
			asked, err := l.Allow(t.Context(), "k", limit, fmt.Sprint("a", ended))
			if err != nil {
				t.Fatal(err)
			}
			checked, err := l.Check(t.Context(), "k", limit)
			if err != nil {
				t.Fatal(err)
			}
			for _, v := range []Verdict{asked[0], checked} {
				allowed, unavailable := policy == Open && !ended, policy == Closed && !ended
				if v.Allowed != allowed || v.Unavailable != unavailable || ended && v.RetryAfter != time.Minute {
					t.Errorf("%v, boost ended %t: %+v", policy, ended, v)
				}
			}
		}
	}
}
