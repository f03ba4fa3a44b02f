package limiter

import (
	"fmt"
	"testing"
	"time"

	"arrakis/limiter/redishealth"
	"arrakis/loadtest/testserver"
)

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
		var logged testserver.Output
		l := newLimiter(t, addr, settings{Options{Logger: logged.Logger()}, redishealth.Options{Failures: 1}}, newTestClock())
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
		if n := logged.Count("key=ratelimit:bad"); n != 1 {
			t.Errorf("the key is logged %d times, want 1", n)
		}
		if !l.fallback.idle() {
			t.Error("admissions of the bad key wait for a merge that cannot be")
		}
	})
}
