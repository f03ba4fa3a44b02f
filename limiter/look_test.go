package limiter

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"
	"pgregory.net/rapid"

	"arrakis/limiter/redisscript"
	"arrakis/loadtest/testserver"
)

// TestLook: a look at a key without its limit knows, for any limit, what a question with the limit knows, and what the
// next message gets; or it says that it does not know. It writes nothing.
func TestLook(t *testing.T) {
	t.Parallel()
	testserver.BothRedises(t, func(t *testing.T, addr string) {
		clock := newTestClock()
		l := newLimiter(t, addr, settings{}, clock)
		rdb := testserver.ConnectRedis(t, addr)
		serial, unknown := 0, 0
		rapid.Check(t, func(t *rapid.T) {
			serial++
			key := fmt.Sprint("look-", serial)
			limits := func(name string) Limit {
				limit := Limit{Max: rapid.SampledFrom([]int64{-1, 0, 1, 2, 3, 4, 20_000}).Draw(t, name), Window: time.Minute}
				if limit.Boost = max(0, rapid.Int64Range(-3, 3).Draw(t, "boost")); limit.Boost > 0 && limit.Max >= 0 {
					limit.BoostUntil = clock.millis.Load() + rapid.Int64Range(-1000, 90_000).Draw(t, "left")
				} else {
					limit.Boost = 0
				}
				return limit
			}
			for i := range rapid.IntRange(0, 12).Draw(t, "steps") {
				limit, id := limits("limit then"), fmt.Sprint("id-", i)
				clock.advance(time.Duration(rapid.IntRange(0, 20_000).Draw(t, "ms")) * time.Millisecond)
				if rapid.Bool().Draw(t, "reserve") && limit.Max > 0 {
					r := &Reservation{Key: key, Limit: limit, ID: ReservedID(id), Most: 3, Longest: forever}
					if err := l.Reserve(t.Context(), []*Reservation{r}); err != nil {
						t.Fatal(err)
					}
				} else if _, err := l.Allow(t.Context(), key, limit, id); err != nil {
					t.Fatal(err)
				}
			}
			before := held(t, rdb, key)
			looks, err := l.Look(t.Context(), []string{key}, []time.Duration{time.Minute})
			if err != nil {
				t.Fatal(err)
			}
			limit := limits("limit now")
			want, err := l.Answers(t.Context(), []Query{{Key: key, Limit: limit}})
			if err != nil {
				t.Fatal(err)
			}
			if got, known := looks[0].Under(limit); !known {
				unknown++
			} else if diff := cmp.Diff(want[0], got); diff != "" {
				t.Fatalf("under %+v (-asked with the limit +looked at):\n%s", limit, diff)
			}
			if diff := cmp.Diff(before, held(t, rdb, key)); diff != "" {
				t.Fatalf("looking has changed the key (-before +after):\n%s", diff)
			}
			vs, err := l.Allow(t.Context(), key, limit, "next")
			if err != nil {
				t.Fatal(err)
			}
			got := want[0].Verdict
			got.ResetAfter, vs[0].ResetAfter = 0, 0 // of the window with the next message in it
			if diff := cmp.Diff(vs[0], got); diff != "" {
				t.Fatalf("under %+v (-what the next message gets +what was said):\n%s", limit, diff)
			}
		})
		if unknown == 0 {
			t.Error("no look was without an answer: the test shows only half")
		}
	})
}

func held(t *rapid.T, rdb *redis.Client, key string) []redis.Z {
	t.Helper()
	all, err := rdb.ZRangeWithScores(t.Context(), "ratelimit:"+key, 0, -1).Result()
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// TestLookBesideOthers: other commands share the round trip, and each has its reply or its error.
func TestLookBesideOthers(t *testing.T) {
	t.Parallel()
	testserver.BothRedises(t, func(t *testing.T, addr string) {
		l := newLimiter(t, addr, settings{}, newTestClock())
		rdb := testserver.ConnectRedis(t, addr)
		if err := rdb.Set(t.Context(), "document", "text", 0).Err(); err != nil {
			t.Fatal(err)
		}
		calls := []*redisscript.Call{{}, {}, {}}
		calls[0].Command("get", "document")
		calls[1].Command("get", "nothing")
		calls[2].Command("hgetall", "document")
		if _, err := l.Look(t.Context(), []string{"k"}, []time.Duration{time.Minute}, calls...); err != nil {
			t.Fatal(err)
		}
		if text, err := calls[0].Cmd.Text(); text != "text" || err != nil {
			t.Errorf("document: %q, %v", text, err)
		}
		if err := calls[1].Cmd.Err(); err != redis.Nil { //nolint:errorlint // the very error of the client
			t.Errorf("nothing: %v", err)
		}
		if err := calls[2].Cmd.Err(); !redis.HasErrorPrefix(err, "WRONGTYPE") {
			t.Errorf("a command of the wrong type: %v", err)
		}
	})
}

// After a limit was raised, reservations that no window has together with now leave room for others: looking knows that, as
// asking does.
func TestLookBesideReservations(t *testing.T) {
	t.Parallel()
	testserver.BothRedises(t, func(t *testing.T, addr string) {
		l := newLimiter(t, addr, settings{}, newTestClock())
		one, three := Limit{Max: 1, Window: time.Minute}, Limit{Max: 3, Window: time.Minute}
		if _, err := l.Allow(t.Context(), "k", one, "a"); err != nil {
			t.Fatal(err)
		}
		wantText(t, "reserved", reserve(t, l, "k", one, 3, "b", "c", "d"), "1@1m0s 1@2m1.5s 1@3m3s")
		looks, err := l.Look(t.Context(), []string{"k"}, []time.Duration{time.Minute})
		if err != nil {
			t.Fatal(err)
		}
		got, known := looks[0].Under(three)
		if !known || !got.Verdict.Allowed || got.Usage.Used != 1 || got.Usage.Remaining != 1 || got.Usage.Delayed != 3 {
			t.Errorf("%+v, %t", got, known)
		}
		if v, err := l.Check(t.Context(), "k", three); err != nil || !v.Allowed {
			t.Errorf("%+v, %v", v, err)
		}
		ends := Limit{Window: time.Minute, Boost: 3, BoostUntil: year2100 + 1000}
		if answers, err := l.Answers(t.Context(), []Query{{Key: "k", Limit: ends}}); err != nil || !answers[0].Verdict.Allowed || answers[0].Never {
			t.Errorf("under a boost that ends soon: %+v, %v: want a free permit", answers, err)
		}
		vs, err := l.Allow(t.Context(), "k", three, "e", "f")
		if err != nil || !vs[0].Allowed || vs[1].Allowed {
			t.Errorf("%+v, %v: want room for one", vs, err)
		}
	})
}
