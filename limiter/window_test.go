package limiter

import (
	"fmt"
	"strings"
	"testing"
	"time"
	"unsafe"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/redis/go-redis/v9"

	"arrakis/loadtest/testserver"
)

func TestWindowReject(t *testing.T) {
	t.Parallel()
	sent := time.Now()
	limit := Limit{Max: 2, Window: time.Minute}
	full := standing{count: 2, limit: 2, resetAfter: 10 * time.Second, retryAfter: 20 * time.Second}
	reject := Verdict{Limit: 2, ResetAfter: 4 * time.Second, RetryAfter: 14 * time.Second, Local: true}
	tests := []struct {
		name  string
		state standing
		limit Limit
		after time.Duration
		want  Verdict
		known bool
	}{
		{"full", full, limit, 6 * time.Second, reject, true},
		{
			"oldest has left", full, limit, 15 * time.Second,
			Verdict{Limit: 2, ResetAfter: 5 * time.Second, RetryAfter: 5 * time.Second, Local: true},
			true,
		},
		{"last moment", full, limit, 20*time.Second - replySlack - 1, Verdict{Limit: 2, ResetAfter: replySlack + 1, RetryAfter: replySlack + 1, Local: true}, true},
		{"over", full, limit, 20*time.Second - replySlack, Verdict{}, false},
		{"other max", full, Limit{Max: 3, Window: time.Minute}, 0, Verdict{}, false},
		{"other window", full, Limit{Max: 2, Window: time.Hour}, 0, Verdict{}, false},
		{"not full", standing{count: 1, limit: 2, resetAfter: time.Second}, limit, 0, Verdict{}, false},
		{"clock of redis stepped back", standing{count: 2, limit: 2, resetAfter: time.Hour, retryAfter: time.Hour}, limit, time.Minute, Verdict{}, false},
	}
	for _, tt := range tests {
		w := NewWindow("k")
		w.learn(limit, tt.state, sent, sent)
		got, known := w.Reject(tt.limit, sent.Add(tt.after))
		if diff := cmp.Diff(tt.want, got); known != tt.known || diff != "" {
			t.Errorf("%s: known %t, want %t (-want +got):\n%s", tt.name, known, tt.known, diff)
		}
		w.Forget()
		if _, known := w.Reject(tt.limit, sent); known {
			t.Errorf("%s: known after Forget", tt.name)
		}
	}
	if size := unsafe.Sizeof(Window{}); size > 104 {
		t.Errorf("Window takes %d bytes, its comment says 104", size)
	}
}

// TestFloodCostsNoCommand counts what the server ran: one script for a batch, and nothing once the window is full. What
// is told must not be too short, however long Redis took to answer.
func TestRetryAfterCoversTheRoundTrip(t *testing.T) {
	limit := Limit{Max: 1, Window: time.Minute}
	sent := time.Now()
	received := sent.Add(300 * time.Millisecond)
	w := NewWindow("k")
	// Redis answered at the last moment of the round trip that a permit is free in 10 s.
	w.learn(limit, standing{count: 1, limit: 1, resetAfter: 10 * time.Second, retryAfter: 10 * time.Second}, sent, received)
	now := received.Add(time.Second)
	v, full := w.Reject(limit, now)
	if free := received.Add(10 * time.Second); !full || now.Add(v.RetryAfter).Before(free) || now.Add(v.ResetAfter).Before(free) {
		t.Errorf("verdict %+v: a caller that waits so long comes %v too early", v, free.Sub(now.Add(v.RetryAfter)))
	}
}

func TestFloodCostsNoCommand(t *testing.T) {
	t.Parallel()
	s := testserver.Redis(t)
	l := newLimiter(t, s.Addr(), settings{}, nil)
	rdb := s.Client(t)
	limit := Limit{Max: 10, Window: time.Minute}
	a, b := NewWindow("a"), NewWindow("b")
	flood := func(from int, replay bool) []*Request {
		batch := make([]*Request, 0, 200)
		for i := range 100 {
			batch = append(batch,
				&Request{Window: a, Limit: limit, ID: fmt.Sprint(from + i), Repeated: replay},
				&Request{Window: b, Limit: limit, ID: fmt.Sprint(from + i), Repeated: replay})
		}
		if err := l.AllowBatch(t.Context(), batch); err != nil {
			t.Fatal(err)
		}
		return batch
	}
	admitted := func(batch []*Request) (n int) {
		for _, r := range batch {
			if r.Verdict.Allowed {
				n++
			}
		}
		return n
	}
	if n := admitted(flood(0, false)); n != 20 {
		t.Fatalf("%d admitted of the first batch, want 20", n)
	}
	if err := rdb.ConfigResetStat(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	for i := range 100 {
		if n := admitted(flood(1000*(i+1), false)); n != 0 {
			t.Fatalf("%d admitted of a flood above the limit", n)
		}
	}
	if calls := scriptCalls(t, rdb); calls != 0 {
		t.Errorf("a flood above the limit ran %s, want none", commandStats(t, rdb))
	}
	if n := testutil.ToFloat64(l.m.localRejects); n != 20_000 {
		t.Errorf("%v local rejects counted, want 20000", n)
	}
	// A message delivered again asks, and finds its permit: one call for each key, all in one round trip.
	if n := admitted(flood(0, true)); n != 20 {
		t.Errorf("%d admitted again, want the 20 that hold permits", n)
	}
	if calls := scriptCalls(t, rdb); calls != 2 {
		t.Errorf("a batch of two keys ran %s, want 2 scripts", commandStats(t, rdb))
	}
	n, err := testutil.GatherAndCount(l.o.Registerer.(*prometheus.Registry), "arrakis_limiter_round_trip_seconds")
	if err != nil || n != 1 {
		t.Errorf("%d series of round trips, want 1 (%v)", n, err)
	}
}

func commandStats(t *testing.T, rdb *redis.Client) string {
	t.Helper()
	info, err := rdb.Info(t.Context(), "commandstats").Result()
	if err != nil {
		t.Fatal(err)
	}
	return info
}

// scriptCalls returns how many scripts the server ran since its statistics were reset.
func scriptCalls(t *testing.T, rdb *redis.Client) int {
	t.Helper()
	for line := range strings.Lines(commandStats(t, rdb)) {
		var calls int
		if _, err := fmt.Sscanf(line, "cmdstat_evalsha:calls=%d,", &calls); err == nil {
			return calls
		}
	}
	return 0
}

func TestLimitChangeInBatch(t *testing.T) {
	t.Parallel()
	testserver.BothRedises(t, func(t *testing.T, addr string) {
		l := newLimiter(t, addr, settings{}, newTestClock())
		w := NewWindow("k")
		small, large := Limit{Max: 1, Window: time.Minute}, Limit{Max: 3, Window: time.Minute}
		batch := []*Request{
			{Window: w, Limit: small, ID: "a"},
			{Window: w, Limit: small, ID: "b"},
			{Window: w, Limit: large, ID: "c"},
			{Window: w, Limit: small, ID: "d"},
			{Window: w, Limit: large, ID: "e"},
		}
		if err := l.AllowBatch(t.Context(), batch); err != nil {
			t.Fatal(err)
		}
		vs := make([]Verdict, 0, len(batch))
		for _, r := range batch {
			vs = append(vs, r.Verdict)
		}
		if got := spell(vs); got != "10101" {
			t.Errorf("verdicts %s, want 10101", got)
		}
	})
}

// fullWindow returns a window that rejects for a minute from now.
func fullWindow(limit Limit, now time.Time) *Window {
	w := NewWindow("comm_007:command")
	w.learn(limit, standing{count: limit.Max, limit: limit.Max, resetAfter: limit.Window, retryAfter: limit.Window}, now, now)
	return w
}

func TestLocalRejectAllocatesNothing(t *testing.T) {
	limit := Limit{Max: 10, Window: time.Hour}
	w := fullWindow(limit, time.Now())
	l := newLimiter(t, "127.0.0.1:1", settings{}, nil)
	batch := make([]*Request, 64)
	for i := range batch {
		batch[i] = &Request{Window: w, Limit: limit, ID: "event"}
	}
	allocs := testing.AllocsPerRun(100, func() {
		if err := l.AllowBatch(t.Context(), batch); err != nil || !batch[0].Verdict.Local {
			t.Fatal("not rejected locally")
		}
	})
	if allocs != 0 {
		t.Errorf("a batch of local rejects allocates %v times, want 0", allocs)
	}
}
