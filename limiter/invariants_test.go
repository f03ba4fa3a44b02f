package limiter

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"
)

// admission is one charge as its process saw it: Redis made it between the two times.
type admission struct{ asked, answered time.Time }

// TestInvariantExact checks I1: whatever the number of processes, and though some crash and their messages are delivered
// again elsewhere, no window of the limit's length holds more than Max admissions.
func TestInvariantExact(t *testing.T) {
	onEveryRedis(t, func(s *testServer) {
		t := s.t
		const processes = 6
		limit := Limit{Max: 25, Window: time.Second}
		redelivered := make(chan string, 10_000) // IDs whose process crashed before it saw the verdict
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		began := time.Now()
		var mu sync.Mutex // protects all
		var all []admission
		var wg sync.WaitGroup
		for p := range processes {
			l := newLimiter(t, s.addr, settings{}, nil)
			wg.Go(func() {
				w := NewWindow("comm_007:command")
				for i := 0; ctx.Err() == nil; i++ {
					batch := []*Request{{Window: w, Limit: limit, ID: fmt.Sprint(p, "-", i, "-a")}, {Window: w, Limit: limit, ID: fmt.Sprint(p, "-", i, "-b")}}
					select {
					case id := <-redelivered:
						batch = append(batch, &Request{Window: w, Limit: limit, ID: id, Replay: true})
					default:
					}
					asked := time.Now()
					if err := l.AllowBatch(ctx, batch); err != nil {
						return
					}
					answered := time.Now()
					if i%10 == 9 { // a crash: the window is lost, the verdicts are not seen
						w = NewWindow("comm_007:command")
						for _, r := range batch {
							redelivered <- r.ID
						}
					}
					mu.Lock()
					for _, r := range batch {
						if r.Verdict.Charged {
							all = append(all, admission{asked, answered})
						}
						if r.Verdict.Degraded {
							t.Error("degraded while Redis is up")
						}
					}
					if int64(len(all)) >= 2*limit.Max && time.Since(began) > 2500*time.Millisecond {
						cancel()
					}
					mu.Unlock()
				}
			})
		}
		wg.Wait()
		checkExact(t, all, limit)
		if int64(len(all)) < 2*limit.Max {
			t.Errorf("%d admissions in %v, want two windows full: the limiter admits too little", len(all), patience)
		}
	})
}

// checkExact fails if Max+1 admissions were certainly made within less than a window. Redis counts whole milliseconds.
func checkExact(t *testing.T, all []admission, limit Limit) {
	t.Helper()
	slices.SortFunc(all, func(a, b admission) int { return a.asked.Compare(b.asked) })
	for i := range all {
		latest := make([]time.Time, 0, len(all)-i)
		for _, a := range all[i:] {
			latest = append(latest, a.answered)
		}
		slices.SortFunc(latest, time.Time.Compare)
		if int64(len(latest)) <= limit.Max {
			return
		}
		if span := latest[limit.Max].Sub(all[i].asked); span < limit.Window-time.Millisecond {
			t.Fatalf("%d admissions within %v", limit.Max+1, span)
		}
	}
}

// TestInvariantChargedOnce checks I2: a message that is delivered n times, in one batch or many, to one process or many,
// is charged once in its window, and is admitted every time.
func TestInvariantChargedOnce(t *testing.T) {
	onEveryRedis(t, func(s *testServer) {
		t := s.t
		const messages = 40
		limit := Limit{Max: messages, Window: time.Hour}
		var mu sync.Mutex // protects charges
		charges := map[string]int{}
		var wg sync.WaitGroup
		for range 4 {
			l := newLimiter(t, s.addr, settings{}, nil)
			wg.Go(func() {
				w := NewWindow("comm_007:command")
				for range 20 {
					batch := make([]*Request, 0, 2*messages)
					for m := range messages {
						r := Request{Window: w, Limit: limit, ID: fmt.Sprint("event-", m), Replay: true}
						again := r
						batch = append(batch, &r, &again)
					}
					if err := l.AllowBatch(t.Context(), batch); err != nil {
						t.Error(err)
						return
					}
					mu.Lock()
					for _, r := range batch {
						if !r.Verdict.Allowed {
							t.Errorf("%s rejected: %+v", r.ID, r.Verdict)
						}
						if r.Verdict.Charged {
							charges[r.ID]++
						}
					}
					mu.Unlock()
				}
			})
		}
		wg.Wait()
		for id, n := range charges {
			if n != 1 {
				t.Errorf("%s charged %d times", id, n)
			}
		}
		if n := s.client(t).ZCard(t.Context(), "ratelimit:comm_007:command").Val(); n != messages || len(charges) != messages {
			t.Errorf("%d permits taken, %d IDs charged, want %d", n, len(charges), messages)
		}
	})
}
