package limiter

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"arrakis/limiter/redishealth"
	"arrakis/loadtest/testserver"
)

// forever is a time that every message can wait.
const forever = 24 * time.Hour

// onBothForms runs f with limits that are kept in a log and with limits in sub-windows, on either Redis.
func onBothForms(t *testing.T, f func(t *testing.T, l *Limiter, c *testClock)) {
	t.Helper()
	testserver.BothRedises(t, func(t *testing.T, addr string) {
		for form, n := range map[string]sizes{"log": production, "sub-windows": {log: 0, step: 512, fill: 64, most: 112, chunks: 16384}} {
			c := newTestClock()
			l := newLimiter(t, addr, settings{Options: Options{Prefix: form + ":"}}, c)
			l.scripts = newScripts(n)
			f(t, l, c)
		}
	})
}

// reserve reserves permits for first messages, and returns the answers with their waits, such as "1@10s".
func reserve(t *testing.T, l *Limiter, key string, limit Limit, most int64, ids ...string) string {
	t.Helper()
	var batch []*Reservation
	for _, id := range ids {
		batch = append(batch, &Reservation{Key: key, Limit: limit, ID: ReservedID(id), Most: most, Longest: forever})
	}
	return answers(t, l, batch...)
}

func answers(t *testing.T, l *Limiter, batch ...*Reservation) string {
	t.Helper()
	if err := l.Reserve(t.Context(), batch); err != nil {
		t.Fatal(err)
	}
	var said []string
	for _, r := range batch {
		said = append(said, fmt.Sprintf("%d@%v", r.Answer, r.Wait))
	}
	return strings.Join(said, " ")
}

func wantText(t *testing.T, what, got, want string) {
	t.Helper()
	if got != want {
		t.Errorf("%s: %s, want %s", what, got, want)
	}
}

// The permits of a window become free one by one, and so are reserved: the next window's as the ones before leave room.
func TestReserve(t *testing.T) {
	t.Parallel()
	onBothForms(t, func(t *testing.T, l *Limiter, c *testClock) {
		t.Helper()
		limit := Limit{Max: 3, Window: 100 * time.Second}
		verdict := func(at time.Duration, id, want string) {
			t.Helper()
			c.millis.Store(year2100 + at.Milliseconds())
			got, _ := ask(t, l, "k", limit, id)
			wantText(t, fmt.Sprintf("%q at %v", id, at), got, want)
		}
		verdict(time.Second, "a", "1")
		verdict(2*time.Second, "b", "1")
		verdict(3*time.Second, "c", "1")
		verdict(4*time.Second, "d", "0")
		wantText(t, "reserved", reserve(t, l, "k", limit, 4, "d", "e", "f", "g"), "1@1m37s 1@1m38s 1@1m39s 1@3m18.5s")
		wantText(t, "one too many", reserve(t, l, "k", limit, 4, "h"), "0@3m19.5s")
		u, err := l.Usage(t.Context(), "k", limit)
		if want := (Usage{Used: 3, Limit: 3, Delayed: 4, ResetAfter: 97 * time.Second}); err != nil || u != want {
			t.Errorf("usage %+v, %v; want %+v", u, err, want)
		}

		d := ReservedID("d")
		verdict(101*time.Second-time.Millisecond, d, "0") // too early
		verdict(101*time.Second, "x", "0")                // nobody overtakes
		verdict(101*time.Second, d, "2")
		verdict(102*time.Second, "x", "0")
		wantText(t, "one has come", reserve(t, l, "k", limit, 4, "h"), "1@1m41.5s")
		verdict(103500*time.Millisecond, ReservedID("e"), "2") // as late as it may be
		verdict(104*time.Second, ReservedID("f"), "2")
		verdict(202500*time.Millisecond-time.Millisecond, ReservedID("g"), "0")
		verdict(202500*time.Millisecond, ReservedID("g"), "2")
		verdict(205*time.Second, ReservedID("h"), "2")
		verdict(206*time.Second, "x", "1") // nobody waits any more, and f has left the window
		verdict(206*time.Second, "y", "0")
	})
}

func TestReserveRefuses(t *testing.T) {
	t.Parallel()
	onBothForms(t, func(t *testing.T, l *Limiter, c *testClock) {
		t.Helper()
		limit := Limit{Max: 1, Window: 100 * time.Second}
		ask(t, l, "k", limit, "a")
		r := func(id string, most int64, longest time.Duration) *Reservation {
			return &Reservation{Key: "k", Limit: limit, ID: ReservedID(id), Most: most, Longest: longest}
		}
		wantText(t, "too late", answers(t, l, r("b", 1, 100*time.Second-time.Millisecond)), "-1@1m40s")
		wantText(t, "in time", answers(t, l, r("b", 1, 100*time.Second)), "1@1m40s")
		c.advance(10 * time.Second)
		wantText(t, "the same message again", answers(t, l, r("b", 1, forever)), "1@1m30s")
		wantText(t, "the same message, which has less time", answers(t, l, r("b", 1, time.Minute)), "-1@1m30s")
		had := r("c", 1, forever)
		wantText(t, "one too many", answers(t, l, had), "0@3m11.5s")
		had.Again = true
		wantText(t, "one whose time has passed", answers(t, l, had), "1@3m11.5s")
		if err := l.Release(t.Context(), "k", ReservedID("b"), ReservedID("c")); err != nil {
			t.Fatal(err)
		}
		wantText(t, "after a release", answers(t, l, r("d", 1, forever)), "1@1m30s")
		wantText(t, "a key without a permit taken", answers(t, l, &Reservation{Key: "new", Limit: limit, ID: ReservedID("a"), Most: 1}), "1@0s")
	})
}

// TestReservedWhileAway: a message whose time has passed long ago, because no worker ran, is one like any other.
func TestReservedWhileAway(t *testing.T) {
	t.Parallel()
	onBothForms(t, func(t *testing.T, l *Limiter, c *testClock) {
		t.Helper()
		limit := Limit{Max: 1, Window: 10 * time.Second}
		ask(t, l, "k", limit, "a")
		wantText(t, "reserved", reserve(t, l, "k", limit, 9, "b", "c"), "1@10s 1@21.5s")
		c.advance(time.Hour)
		got, _ := ask(t, l, "k", limit, ReservedID("b"), ReservedID("c"), ReservedID("b"))
		wantText(t, "verdicts after an hour", got, "102")
	})
}

// TestRaisedLimit: what was reserved under a low limit does not use up a higher one.
func TestRaisedLimit(t *testing.T) {
	t.Parallel()
	testserver.BothRedises(t, func(t *testing.T, addr string) {
		l := newLimiter(t, addr, settings{}, newTestClock())
		low, high := Limit{Max: 2, Window: time.Minute}, Limit{Max: 10, Window: time.Minute}
		ask(t, l, "k", low, "a", "b")
		var ids []string
		for i := range 20 {
			ids = append(ids, fmt.Sprint(i))
		}
		reserve(t, l, "k", low, 100, ids...)
		got, left := ask(t, l, "k", high, "c", "d", "e", "f", "g", "h", "i")
		if got != "1111110" || left != 0 { // a and b, and two more that are reserved for the next minute
			t.Errorf("verdicts %s with %d left, want 1111110 with 0", got, left)
		}
	})
}

// TestReserveWithoutRedis: nothing is reserved, and what comes is decided by the policy.
func TestReserveWithoutRedis(t *testing.T) {
	t.Parallel()
	testserver.BothRedises(t, func(t *testing.T, addr string) {
		l := newLimiter(t, addr, settings{}, newTestClock())
		limit := Limit{Max: 1, Window: time.Minute}
		ask(t, l, "k", limit, "a")
		if err := testserver.ConnectRedis(t, addr).Set(t.Context(), "ratelimit:bad", "text", 0).Err(); err != nil {
			t.Fatal(err)
		}
		wantText(t, "a key of another type", reserve(t, l, "bad", limit, 1, "b"), "2@0s")
		lose(t, l)
		wantText(t, "while Redis is away", reserve(t, l, "k", limit, 1, "b"), "2@0s")
	})
}

// TestReserveIsRepeated: a reservation whose answer was lost is found again.
func TestReserveIsRepeated(t *testing.T) {
	t.Parallel()
	p := testserver.Proxy(t, testserver.Redis(t).Addr())
	l := newLimiter(t, p.Addr(), settings{health: redishealth.Options{Failures: 100}}, newTestClock())
	limit := Limit{Max: 1, Window: time.Minute}
	ask(t, l, "k", limit, "a")
	for i := range 50 {
		cut := make(chan struct{})
		go func() { defer close(cut); p.Cut() }()
		r := &Reservation{Key: "k", Limit: limit, ID: ReservedID(fmt.Sprint(i)), Most: 1_000, Longest: forever * 365}
		answers(t, l, r)
		<-cut
		if r.Answer != Granted && r.Answer != Unanswered {
			t.Errorf("answer %d", r.Answer)
		}
	}
}

func TestBadReservations(t *testing.T) {
	t.Parallel()
	l := newLimiter(t, testserver.Redis(t).Addr(), settings{}, nil)
	for _, r := range []Reservation{
		{Key: "k", Limit: Limit{Max: 1, Window: time.Minute}, ID: "a"},
		{Key: "k", Limit: Limit{Max: 1, Window: time.Minute}, ID: ReservedID("")},
		{Key: "k", Limit: Limit{Max: 0, Window: time.Minute}, ID: ReservedID("a")},
		{Key: "k", Limit: Limit{Max: Unlimited, Window: time.Minute}, ID: ReservedID("a")},
		{Key: "k", Limit: Limit{Max: 1, Window: time.Hour * 25}, ID: ReservedID("a")},
	} {
		if err := l.Reserve(t.Context(), []*Reservation{&r}); err == nil {
			t.Errorf("%+v is accepted", r)
		}
	}
}

// parked is a message that has a reservation.
type parked struct {
	id   string
	free int64 // when its permit is free, unix ms
}

// TestReservedProperty: whatever messages come, and however late within the slack delayed ones are, no window has more
// of them than the highest limit that was in force for one of them, by the times at which they are really admitted. Delayed
// ones are admitted in their order, each of them, also when a boost ends meanwhile; and nobody is rejected while a permit
// is free.
func TestReservedProperty(t *testing.T) {
	t.Parallel()
	testserver.BothRedises(t, func(t *testing.T, addr string) {
		c := newTestClock()
		l := newLimiter(t, addr, settings{}, c)
		rapid.Check(t, func(rt *rapid.T) {
			key := fmt.Sprint(worldSerial.Add(1))
			now := func() int64 { return c.millis.Load() }
			limit := Limit{Max: rapid.Int64Range(1, 4).Draw(rt, "max"), Window: 10 * time.Second}
			if limit.Boost = max(0, rapid.Int64Range(-3, 3).Draw(rt, "boost")); limit.Boost > 0 {
				limit.Max--
				limit.BoostUntil = now() + rapid.Int64Range(-1_000, 60_000).Draw(rt, "until")
			}
			var waiting []parked
			var admitted []int64
			highest := map[int64]int64{} // limit in force for the admissions of a time
			admit := func(inForce int64) {
				admitted = append(admitted, now())
				highest[now()] = max(highest[now()], inForce)
			}
			late := rapid.Int64Range(0, reservedSlack.Milliseconds())
			run := func(until int64) { // what waits, as its time comes
				for len(waiting) > 0 && waiting[0].free <= until {
					p := waiting[0]
					at := max(now(), p.free+min(late.Draw(rt, "late"), max(0, until-p.free)))
					c.advance(time.Duration(at-now()) * time.Millisecond)
					got, err := l.Allow(rt.Context(), key, limit, ReservedID(p.id))
					if err != nil || !got[0].Allowed || got[0].Charged {
						rt.Fatalf("%+v at %d: %+v, %v", p, now(), got, err)
					}
					admit(permits(limit, p.free))
					waiting = waiting[1:]
				}
				c.advance(time.Duration(max(0, until-now())) * time.Millisecond)
			}
			for i := range rapid.IntRange(5, 40).Draw(rt, "messages") {
				run(now() + rapid.Int64Range(0, 6_000).Draw(rt, "pass"))
				got, err := l.Allow(rt.Context(), key, limit, fmt.Sprint(i))
				if err != nil {
					rt.Fatal(err)
				}
				if got[0].Allowed {
					admit(permits(limit, now()))
					continue
				}
				if len(waiting) == 0 && inWindow(admitted, now(), limit.Window+reservedSlack) < permits(limit, now()) {
					rt.Fatalf("message %d is rejected, with %v admitted", i, admitted)
				}
				r := &Reservation{Key: key, Limit: limit, ID: ReservedID(fmt.Sprint(i)), Most: 8, Longest: forever}
				if err := l.Reserve(rt.Context(), []*Reservation{r}); err != nil {
					rt.Fatal(err)
				}
				if r.Answer == Granted {
					waiting = append(waiting, parked{fmt.Sprint(i), now() + r.Wait.Milliseconds()})
				} else if r.Answer != Full || len(waiting) < 8 && limit.Max > 0 {
					rt.Fatalf("answer %d with %d waiting", r.Answer, len(waiting))
				}
				if !slices.IsSortedFunc(waiting, func(a, b parked) int { return cmp.Compare(a.free, b.free) }) {
					rt.Fatalf("overtaken: %+v", waiting)
				}
			}
			run(now() + time.Hour.Milliseconds())
			if len(waiting) > 0 {
				rt.Fatalf("left: %+v", waiting)
			}
			for _, at := range admitted {
				inForce := int64(0)
				for when, n := range highest {
					if when > at-limit.Window.Milliseconds() && when <= at {
						inForce = max(inForce, n)
					}
				}
				if n := inWindow(admitted, at, limit.Window); n > inForce {
					rt.Fatalf("%d admissions in the window that ends at %d: %v", n, at, admitted)
				}
			}
		})
	})
}

// inWindow counts the times in the window that ends at now.
func inWindow(times []int64, now int64, window time.Duration) (n int64) {
	for _, at := range times {
		if at > now-window.Milliseconds() && at <= now {
			n++
		}
	}
	return n
}
