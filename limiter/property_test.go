package limiter

import (
	"context"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"
	"pgregory.net/rapid"

	"arrakis/loadtest/testserver"
)

// oracle is the sliding window log as one would explain it: every admission is written down, and a message is admitted
// if fewer than max of them are younger than the window.
type oracle struct {
	admitted map[string]int64 // unix ms by ID
}

// permits is the limit in force: a boost counts while the clock of Redis is before its end.
func permits(limit Limit, now int64) int64 {
	if now < limit.BoostUntil {
		return limit.Max + limit.Boost
	}
	return limit.Max
}

// ask returns the verdict on one message, and takes the permit.
func (o *oracle) ask(id string, limit Limit, now int64) byte {
	for old, at := range o.admitted {
		if at <= now-limit.Window.Milliseconds() {
			delete(o.admitted, old)
		}
	}
	if _, ok := o.admitted[id]; ok {
		return replyHeld
	}
	if int64(len(o.admitted)) >= permits(limit, now) {
		return replyRejected
	}
	o.admitted[id] = now
	return replyCharged
}

// verdict completes a verdict that ask spelled, once the whole batch has asked.
func (o *oracle) verdict(spelled byte, remaining int64, limit Limit, now int64) Verdict {
	times := make([]int64, 0, len(o.admitted))
	for _, at := range o.admitted {
		times = append(times, at)
	}
	slices.Sort(times)
	after := func(rank int64) time.Duration {
		return time.Duration(times[rank]-now)*time.Millisecond + limit.Window
	}
	v := Verdict{Allowed: spelled != replyRejected, Charged: spelled == replyCharged, Limit: permits(limit, now), Remaining: remaining}
	if len(times) > 0 {
		v.ResetAfter = after(0)
	}
	if v.Allowed {
		return v
	}
	frees := func(n int64) time.Duration { // a permit of n
		if n == 0 {
			return limit.Window
		}
		return after(int64(len(times)) - n)
	}
	v.RetryAfter = frees(v.Limit)
	if now < limit.BoostUntil && now+v.RetryAfter.Milliseconds() >= limit.BoostUntil {
		v.RetryAfter = frees(limit.Max)
	}
	return v
}

// process is one limiter with its windows, as one of several shards that share a Redis.
type process struct {
	limiter *Limiter
	windows []*Window
}

// world is what the property test acts on.
type world struct {
	proxy     *testserver.TCPProxy // between the processes and Redis
	admin     *redis.Client
	clock     *testClock
	processes []*process
	oracles   []*oracle // by key
	limits    []Limit   // by key
	stepped   int64     // until when, by the processes' clock in ms, a window may not know of a step forward
	back      int64     // until when it may not know that a step back has brought a boost back
}

const worldKeys = 3

var worldSerial atomic.Int64 // makes keys of one check unknown to the next

func (w *world) build(limiters []*Limiter) {
	w.clock.elapsed.Store(0)
	w.clock.millis.Store(year2100)
	serial := worldSerial.Add(1)
	for _, l := range limiters {
		p := &process{limiter: l}
		for k := range worldKeys {
			p.windows = append(p.windows, NewWindow(fmt.Sprintf("%d:%d", serial, k)))
		}
		w.processes = append(w.processes, p)
	}
	for range worldKeys {
		w.oracles = append(w.oracles, &oracle{admitted: map[string]int64{}})
		w.limits = append(w.limits, Limit{Max: 3, Window: 10 * time.Second})
	}
}

// batch lets one process ask for a batch and compares every verdict with the oracle's.
func (w *world) batch(t *rapid.T) {
	p := rapid.SampledFrom(w.processes).Draw(t, "process")
	messages := rapid.IntRange(1, 8).Draw(t, "messages")
	batch := make([]*Request, 0, messages)
	keys := make([]int, 0, messages) // of each message
	for range messages {
		k := rapid.IntRange(0, worldKeys-1).Draw(t, "key")
		batch = append(batch, &Request{
			Window: p.windows[k], Limit: w.limits[k], ID: fmt.Sprint("id-", rapid.IntRange(0, 15).Draw(t, "id")),
			Repeated: rapid.Bool().Draw(t, "replay"),
		})
		keys = append(keys, k)
	}
	if err := p.limiter.AllowBatch(context.Background(), batch); err != nil {
		t.Fatalf("AllowBatch: %v", err)
	}
	now := w.clock.millis.Load()
	spelled := make([]byte, len(batch))
	remaining := make([]int64, len(batch))
	for i, r := range batch {
		if r.Verdict.Local {
			w.checkLocal(t, r, w.oracles[keys[i]], now)
			continue
		}
		o := w.oracles[keys[i]]
		spelled[i] = o.ask(r.ID, r.Limit, now)
		remaining[i] = max(0, permits(r.Limit, now)-int64(len(o.admitted)))
	}
	for i, r := range batch {
		if r.Verdict.Local {
			continue
		}
		want := w.oracles[keys[i]].verdict(spelled[i], remaining[i], r.Limit, now)
		if diff := cmp.Diff(want, r.Verdict); diff != "" {
			t.Fatalf("message %d, key %d, id %s, max %d (-want +got):\n%s", i, keys[i], r.ID, r.Limit.Max, diff)
		}
	}
}

// checkLocal checks a reject without Redis: the window is full, unless the clock of Redis was stepped forward lately.
func (w *world) checkLocal(t *rapid.T, r *Request, o *oracle, now int64) {
	if r.Repeated || r.Verdict.Allowed || r.Verdict.RetryAfter <= 0 {
		t.Fatalf("local verdict %+v, replay %t", r.Verdict, r.Repeated)
	}
	full := int64(0)
	for _, at := range o.admitted {
		if at > now-r.Limit.Window.Milliseconds() {
			full++
		}
	}
	if at := w.clock.elapsed.Load(); at <= w.stepped || r.Limit.Boost > 0 && at <= w.back {
		return
	}
	if n := permits(r.Limit, now); full < n || r.Verdict.Limit != n {
		t.Fatalf("rejected locally with %d of %d used: %+v", full, n, r.Verdict)
	}
}

// limit draws a limit, of which some have a boost: one that has ended, or ends soon.
func (w *world) limit(t *rapid.T) Limit {
	l := Limit{Window: time.Duration(rapid.IntRange(1, 20).Draw(t, "window")) * time.Second}
	if l.Boost = rapid.Int64Range(-4, 4).Draw(t, "boost"); l.Boost <= 0 {
		l.Boost, l.Max = 0, rapid.Int64Range(1, 6).Draw(t, "max")
		return l
	}
	l.Max = rapid.Int64Range(0, 4).Draw(t, "max")
	l.BoostUntil = w.clock.millis.Load() + rapid.Int64Range(-1000, 20_000).Draw(t, "until")
	return l
}

// reset forgets a key everywhere, as a reset and its reload event do.
func (w *world) reset(t *rapid.T) {
	k := rapid.IntRange(0, worldKeys-1).Draw(t, "key")
	p := rapid.SampledFrom(w.processes).Draw(t, "process")
	if err := p.limiter.Reset(context.Background(), p.windows[k].Key()); err != nil {
		t.Fatalf("Reset: %v", err)
	}
	for _, other := range w.processes {
		other.windows[k].Forget()
		other.limiter.ForgetLocal(other.windows[k].Key())
	}
	clear(w.oracles[k].admitted)
}

// release gives one permit back.
func (w *world) release(t *rapid.T) {
	k := rapid.IntRange(0, worldKeys-1).Draw(t, "key")
	id := fmt.Sprint("id-", rapid.IntRange(0, 15).Draw(t, "id"))
	p := rapid.SampledFrom(w.processes).Draw(t, "process")
	if err := p.limiter.Release(context.Background(), p.windows[k].Key(), id); err != nil {
		t.Fatalf("Release: %v", err)
	}
	for _, other := range w.processes {
		other.windows[k].Forget()
	}
	delete(w.oracles[k].admitted, id)
}

// step sets the clock of Redis forward or back. After a step forward a window may reject for up to its length.
func (w *world) step(t *rapid.T) {
	d := time.Duration(rapid.IntRange(-25_000, 25_000).Draw(t, "step")) * time.Millisecond
	w.clock.step(d)
	until := w.clock.elapsed.Load() + (20 * time.Second).Milliseconds()
	if d > 0 {
		w.stepped = until
	} else {
		w.back = until
	}
}

// restart loses the connections, or the scripts, of Redis.
func (w *world) restart(t *rapid.T) {
	if rapid.Bool().Draw(t, "scripts") {
		if err := w.admin.ScriptFlush(context.Background()).Err(); err != nil {
			t.Fatal(err)
		}
		return
	}
	w.proxy.Cut()
}

// TestProperty lets several processes do at random what they do in production, and compares every verdict with the
// oracle.
func TestProperty(t *testing.T) {
	t.Parallel()
	testserver.BothRedises(t, func(t *testing.T, addr string) {
		clock := newTestClock()
		p := testserver.Proxy(t, addr)
		limiters := make([]*Limiter, 3)
		for i := range limiters {
			limiters[i] = newLimiter(t, p.Addr(), settings{}, clock)
		}
		admin := testserver.ConnectRedis(t, addr)
		rapid.Check(t, func(rt *rapid.T) {
			w := &world{proxy: p, admin: admin, clock: clock}
			w.build(limiters)
			for range rapid.IntRange(1, 40).Draw(rt, "actions") {
				switch rapid.IntRange(0, 19).Draw(rt, "action") {
				case 0:
					w.reset(rt)
				case 1:
					w.release(rt)
				case 2:
					w.step(rt)
				case 3:
					w.restart(rt)
				case 4:
					k := rapid.IntRange(0, worldKeys-1).Draw(rt, "key")
					w.limits[k] = w.limit(rt)
				case 5, 6, 7, 8:
					w.clock.advance(time.Duration(rapid.IntRange(0, 8000).Draw(rt, "pass")) * time.Millisecond)
				default:
					w.batch(rt)
				}
			}
		})
		for i, l := range limiters {
			if l.Degraded() || !l.fallback.idle() {
				t.Errorf("process %d lost Redis on the way", i)
			}
		}
	})
}
