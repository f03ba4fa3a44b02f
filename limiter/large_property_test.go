package limiter

import (
	"context"
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"

	"arrakis/limiter/redisscript"
	"arrakis/loadtest/testserver"
)

// slackOracle writes every admission down. A limiter with sub-windows may differ from it by slack, toward rejecting.
type slackOracle struct {
	admitted map[string]int64 // unix ms by ID
	window   int64            // ms
	slack    int64            // ms
}

// within counts the admissions that are younger than window, in ms.
func (o *slackOracle) within(now, window int64) (n int64) {
	for _, at := range o.admitted {
		if at > now-window {
			n++
		}
	}
	return n
}

// largeWorld is one key with a limit that crosses the border between both forms.
type largeWorld struct {
	limiters []*Limiter
	clock    *testClock
	key      string
	limits   []Limit // as each limiter sees it
	oracle   slackOracle
	serial   int
}

func newLargeWorld(limiters []*Limiter, clock *testClock) *largeWorld {
	clock.millis.Store(year2100)
	w := &largeWorld{limiters: limiters, clock: clock, key: fmt.Sprint("large:", worldSerial.Add(1))}
	for range limiters {
		w.limits = append(w.limits, Limit{Max: 6, Window: time.Second})
	}
	w.oracle = slackOracle{admitted: map[string]int64{}, window: 1000, slack: 10}
	return w
}

// limit draws a limit, of which some have a boost, on either side of the border.
func (w *largeWorld) limit(t *rapid.T) Limit {
	l := Limit{Max: rapid.Int64Range(1, 30).Draw(t, "max"), Window: time.Second}
	if l.Boost = max(0, rapid.Int64Range(-10, 10).Draw(t, "boost")); l.Boost > 0 {
		l.Max = rapid.Int64Range(1, 5).Draw(t, "max below a boost")
		l.BoostUntil = w.clock.millis.Load() + rapid.Int64Range(0, 2000).Draw(t, "until")
	}
	return l
}

// id draws an ID, mostly one that asked before.
func (w *largeWorld) id(t *rapid.T) string {
	if rapid.IntRange(0, 2).Draw(t, "new") == 0 {
		w.serial++
	}
	return fmt.Sprint("id-", rapid.IntRange(max(0, w.serial-20), w.serial).Draw(t, "id"))
}

// batch asks, and compares every verdict with the oracle.
func (w *largeWorld) batch(t *rapid.T) {
	p := rapid.IntRange(0, len(w.limiters)-1).Draw(t, "process")
	limit, now := w.limits[p], w.clock.millis.Load()
	ids := make([]string, rapid.IntRange(1, 8).Draw(t, "messages"))
	for i := range ids {
		ids[i] = w.id(t)
	}
	vs, err := w.limiters[p].Allow(context.Background(), w.key, limit, ids...)
	if err != nil {
		t.Fatal(err)
	}
	for i, v := range vs {
		w.check(t, ids[i], v, limit, now)
	}
	w.checkUsage(t, p)
}

// check compares one verdict.
func (w *largeWorld) check(t *rapid.T, id string, v Verdict, limit Limit, now int64) {
	o := &w.oracle
	at, known := o.admitted[id]
	holds := known && at > now-o.window           // its permit counts
	mayHold := known && at > now-o.window-o.slack // and may still count
	used, most := o.within(now, o.window), o.within(now, o.window+o.slack)
	n := permits(limit, now)
	switch {
	case v.Charged && holds:
		t.Fatalf("%s charged twice within the window", id)
	case v.Limit != n:
		t.Fatalf("%s decided under a limit of %d, want %d", id, v.Limit, n)
	case v.Charged && used >= n:
		t.Fatalf("%s admitted with %d of %d used", id, used, n)
	case v.Charged:
		o.admitted[id] = now
	case v.Allowed && !mayHold:
		t.Fatalf("%s admitted as if it held a permit", id)
	case !v.Allowed && holds:
		t.Fatalf("%s holds a permit and is rejected", id)
	case !v.Allowed && most < n:
		t.Fatalf("%s rejected with at most %d of %d used", id, most, n)
	case !v.Allowed && (v.RetryAfter <= 0 || v.ResetAfter <= 0):
		t.Fatalf("%s rejected without times: %+v", id, v)
	}
}

// checkUsage compares what a process says of the key.
func (w *largeWorld) checkUsage(t *rapid.T, p int) {
	u, err := w.limiters[p].Usage(context.Background(), w.key, w.limits[p])
	if err != nil {
		t.Fatal(err)
	}
	o, now := &w.oracle, w.clock.millis.Load()
	if least, most := o.within(now, o.window), o.within(now, o.window+o.slack); u.Used < least || u.Used > most {
		t.Fatalf("usage %+v, want %d to %d used", u, least, most)
	}
	oldest := int64(1 << 60)
	for _, at := range o.admitted {
		if at > now-o.window {
			oldest = min(oldest, at)
		}
	}
	// The oldest may be one that counts too long; then it leaves sooner.
	if reset := u.ResetAfter.Milliseconds(); u.Used > 0 && (reset <= 0 || reset > max(0, oldest-now+o.window)+o.slack) {
		t.Fatalf("usage %+v at %d, the oldest of %d", u, now, oldest)
	}
}

// wait waits for as long as a reject says: one ms earlier the permit is not free yet, then it is.
func (w *largeWorld) wait(t *rapid.T) {
	p := rapid.IntRange(0, len(w.limiters)-1).Draw(t, "process")
	l, limit := w.limiters[p], w.limits[p]
	v, err := l.Check(context.Background(), w.key, limit)
	if err != nil {
		t.Fatal(err)
	}
	if v.Allowed {
		return
	}
	w.clock.advance(v.RetryAfter - time.Millisecond)
	if v, err = l.Check(context.Background(), w.key, limit); err != nil || v.Allowed {
		t.Fatalf("%+v, %v a ms before RetryAfter has passed, want no permit", v, err)
	}
	w.clock.advance(time.Millisecond)
	if v, err = l.Check(context.Background(), w.key, limit); err != nil || !v.Allowed {
		t.Fatalf("%+v, %v when RetryAfter has passed, want a permit", v, err)
	}
	w.serial++
	id := fmt.Sprint("id-", w.serial)
	vs, err := l.Allow(context.Background(), w.key, limit, id)
	if err != nil || !vs[0].Allowed {
		t.Fatalf("%+v, %v when RetryAfter has passed", vs, err)
	}
	w.check(t, id, vs[0], limit, w.clock.millis.Load())
}

// release gives one permit back.
func (w *largeWorld) release(t *rapid.T) {
	p := rapid.IntRange(0, len(w.limiters)-1).Draw(t, "process")
	id := w.id(t)
	if err := w.limiters[p].Release(context.Background(), w.key, id); err != nil {
		t.Fatal(err)
	}
	delete(w.oracle.admitted, id)
}

// merge adds admissions that were made without Redis some time ago, however many.
func (w *largeWorld) merge(t *rapid.T) {
	p := rapid.IntRange(0, len(w.limiters)-1).Draw(t, "process")
	l, now := w.limiters[p], w.clock.millis.Load()
	var c redisscript.Call
	c.Prepare(l.scripts.merge, l.o.Prefix+w.key, limitArg(w.limits[p]), w.oracle.window, l.clockArg())
	for range rapid.IntRange(1, 4).Draw(t, "merged") {
		id, age := w.id(t), int64(rapid.IntRange(0, 1100).Draw(t, "age"))
		at, known := w.oracle.admitted[id]
		if known && at <= now-w.oracle.window && at > now-w.oracle.window-w.oracle.slack {
			continue // either answer is right: its permit may count a little longer, or it gets a new one
		}
		c.Append(age, id)
		if age < w.oracle.window && (!known || at <= now-w.oracle.window) {
			w.oracle.admitted[id] = now - age
		}
	}
	if err := redisscript.Run(context.Background(), l.rdb, l.health, []*redisscript.Call{&c}); err != nil {
		t.Fatal(err)
	}
	if err := c.Cmd.Err(); err != nil {
		t.Fatal(err)
	}
}

// TestW4Property lets processes that see different limits, on both sides of the border between log and sub-windows, do
// at random what they do in production. No permit is lost or gained, and no message is charged twice or rejected while
// a window that is 1 % longer has a permit.
func TestW4Property(t *testing.T) {
	t.Parallel()
	testserver.BothRedises(t, func(t *testing.T, addr string) {
		clock := newTestClock()
		limiters := make([]*Limiter, 2)
		for i := range limiters {
			limiters[i] = newTinyLimiter(t, addr, tiny, clock)
		}
		rapid.Check(t, func(rt *rapid.T) {
			w := newLargeWorld(limiters, clock)
			for range rapid.IntRange(1, 60).Draw(rt, "actions") {
				switch rapid.IntRange(0, 19).Draw(rt, "action") {
				case 0:
					w.release(rt)
				case 1, 2:
					p := rapid.IntRange(0, len(w.limits)-1).Draw(rt, "process")
					w.limits[p] = w.limit(rt)
				case 3:
					w.wait(rt)
				case 4:
					w.merge(rt)
				case 5, 6, 7, 8, 9:
					w.clock.advance(time.Duration(rapid.IntRange(0, 400).Draw(rt, "pass")) * time.Millisecond)
				default:
					w.batch(rt)
				}
			}
		})
	})
}
