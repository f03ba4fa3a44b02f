package limiter

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

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
	boost  int64
	until  time.Duration // of the boost, since the trace began
}{
	{name: "boost ends", window: time.Minute, max: 2, boost: 2, until: 30 * time.Second, events: []event{
		{at: 0, ids: "a b c", want: "111", left: 1},
		{at: 30*time.Second - time.Millisecond, ids: "a", want: "2", left: 1},
		{at: 30*time.Second - time.Millisecond, ids: "a b c d e f", want: "222100"},
		{at: 30 * time.Second, ids: "e d a", want: "022"},
		{at: 60 * time.Second, ids: "e f", want: "10"},
	}},
	{name: "boost of no permits", window: time.Minute, max: 0, boost: 1, until: 30 * time.Second, events: []event{
		{at: 0, ids: "a b", want: "10"},
		{at: 30 * time.Second, ids: "b a", want: "02"},
		{at: 60 * time.Second, ids: "b a", want: "00"},
	}},
	{name: "boost before the first message", window: time.Minute, max: 0, boost: 1, until: -time.Millisecond, events: []event{
		{at: 0, ids: "a b", want: "00"},
	}},
	{name: "clock steps back into a boost", window: time.Minute, max: 1, boost: 1, until: 10 * time.Minute, events: []event{
		{at: 10 * time.Minute, ids: "a b", want: "10"},
		{at: 9 * time.Minute, ids: "b c", want: "10"},
		{at: 11 * time.Minute, ids: "c", want: "1"},
	}},
	{name: "one permit a second", window: time.Second, max: 1, events: []event{
		{at: 0, ids: "a", want: "1"},
		{at: 999 * time.Millisecond, ids: "b", want: "0"},
		{at: time.Second, ids: "b", want: "1"},
		{at: 1999 * time.Millisecond, ids: "c", want: "0"},
		{at: 2 * time.Second, ids: "c", want: "1"},
	}},
	{name: "slides, does not jump", window: time.Minute, max: 3, events: []event{
		{at: 0, ids: "a", want: "1", left: 2},
		{at: 30 * time.Second, ids: "b c", want: "11", left: 0},
		{at: 59 * time.Second, ids: "d", want: "0"},
		{at: 60 * time.Second, ids: "d e", want: "10"},
		{at: 90 * time.Second, ids: "e f g", want: "110"},
	}},
	{name: "charged once", window: time.Minute, max: 2, events: []event{
		{at: 0, ids: "a a", want: "12", left: 1},
		{at: time.Second, ids: "b a c", want: "120"},
		{at: 2 * time.Second, ids: "c b a", want: "022"},
		{at: 60 * time.Second, ids: "b a", want: "21"},
	}},
	{name: "a day", window: 24 * time.Hour, max: 2, events: []event{
		{at: 0, ids: "a", want: "1", left: 1},
		{at: time.Hour, ids: "b c", want: "10"},
		{at: 24*time.Hour - time.Millisecond, ids: "c", want: "0"},
		{at: 24 * time.Hour, ids: "c d", want: "10"},
	}},
	{name: "a million a day", window: 24 * time.Hour, max: 1_000_000, events: []event{
		{at: 0, ids: "a b c", want: "111", left: 999_997},
		{at: 24*time.Hour - time.Millisecond, ids: "d", want: "1", left: 999_996},
		{at: 24 * time.Hour, ids: "e", want: "1", left: 999_998},
	}},
	{name: "downgrade and upgrade", window: time.Minute, max: 4, events: []event{
		{at: 0, ids: "a", want: "1", left: 3},
		{at: 1200 * time.Millisecond, ids: "b", want: "1", left: 2},
		{at: 2400 * time.Millisecond, ids: "c d", want: "11"},
		{at: 3 * time.Second, max: 2, ids: "e d", want: "02"},
		{at: 61_200 * time.Millisecond, ids: "e", want: "0"},
		{at: 62_400 * time.Millisecond, ids: "e", want: "1", left: 1},
		{at: 63 * time.Second, max: 5, ids: "f g h", want: "111", left: 1},
	}},
	{name: "clock steps back", window: time.Minute, max: 2, events: []event{
		{at: 10 * time.Minute, ids: "a b", want: "11"},
		{at: 0, ids: "c a", want: "02"},
		{at: time.Minute, ids: "c", want: "0"},
		{at: 11*time.Minute - time.Millisecond, ids: "c", want: "0"},
		{at: 11 * time.Minute, ids: "c", want: "1", left: 1},
	}},
	{name: "clock steps back over some", window: time.Minute, max: 3, events: []event{
		{at: time.Minute, ids: "a", want: "1", left: 2},
		{at: 30 * time.Second, ids: "b", want: "1", left: 1},
		{at: 90 * time.Second, ids: "c", want: "1", left: 1},
		{at: 90 * time.Second, ids: "d e", want: "10"},
		{at: 2 * time.Minute, ids: "e", want: "1"},
	}},
	{name: "clock steps forward", window: time.Minute, max: 1, events: []event{
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
		limit := Limit{Max: trace.max, Window: trace.window, Boost: trace.boost}
		if limit.Boost > 0 {
			limit.BoostUntil = year2100 + trace.until.Milliseconds()
		}
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
