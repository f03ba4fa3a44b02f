package limiter

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"arrakis/loadtest/testserver"
)

// admission is one charge as its process saw it: Redis made it between the two times.
type admission struct{ asked, answered time.Time }

// exactness is several processes that admit messages of one community, and what they saw of it.
type exactness struct {
	limit       Limit
	redelivered chan string        // IDs whose process crashed before it saw the verdict
	enough      context.CancelFunc // ends the processes
	began       time.Time

	mu  sync.Mutex // protects all
	all []admission
}

// TestInvariantExact checks I1: whatever the number of processes, and though some crash and their messages are
// delivered again elsewhere, no window of the limit's length holds more than Max admissions.
func TestInvariantExact(t *testing.T) {
	t.Parallel()
	testserver.BothRedises(t, func(t *testing.T, addr string) {
		ctx, cancel := context.WithTimeout(t.Context(), testserver.Patience)
		defer cancel()
		x := &exactness{
			limit: Limit{Max: 25, Window: time.Second}, redelivered: make(chan string, 10_000), enough: cancel, began: time.Now(),
		}
		var wg sync.WaitGroup
		for p := range 6 {
			l := newLimiter(t, addr, settings{}, nil)
			wg.Go(func() { x.process(ctx, t, l, fmt.Sprint(p)) })
		}
		wg.Wait()
		checkExact(t, x.all, x.limit)
		if int64(len(x.all)) < 2*x.limit.Max {
			t.Errorf("%d admissions in %v, want two windows full: the limiter admits too little", len(x.all), testserver.Patience)
		}
	})
}

// process asks for batch after batch until ctx ends. With every tenth it crashes: its window is lost, and it has not
// seen the verdicts.
func (x *exactness) process(ctx context.Context, t *testing.T, l *Limiter, name string) {
	t.Helper()
	w := NewWindow("comm_007:command")
	for i := 0; ctx.Err() == nil; i++ {
		batch := []*Request{{Window: w, Limit: x.limit, ID: fmt.Sprint(name, "-", i, "-a")}, {Window: w, Limit: x.limit, ID: fmt.Sprint(name, "-", i, "-b")}}
		select {
		case id := <-x.redelivered:
			batch = append(batch, &Request{Window: w, Limit: x.limit, ID: id, Repeated: true})
		default:
		}
		asked := time.Now()
		if err := l.AllowBatch(ctx, batch); err != nil {
			return
		}
		answered := time.Now()
		if i%10 == 9 {
			w = NewWindow("comm_007:command")
			for _, r := range batch {
				x.redelivered <- r.ID
			}
		}
		x.record(t, batch, admission{asked, answered})
	}
}

// record ends the processes when two windows are full.
func (x *exactness) record(t *testing.T, batch []*Request, a admission) {
	t.Helper()
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, r := range batch {
		if r.Verdict.Charged {
			x.all = append(x.all, a)
		}
		if r.Verdict.Degraded {
			t.Error("degraded while Redis is up")
		}
	}
	if int64(len(x.all)) >= 2*x.limit.Max && time.Since(x.began) > 2500*time.Millisecond {
		x.enough()
	}
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

// charges is how often each event ID was charged.
type charges struct {
	mu sync.Mutex // protects n
	n  map[string]int
}

// TestInvariantChargedOnce checks I2: a message that is delivered n times, in one batch or many, to one process or
// many, is charged once in its window, and is admitted every time.
func TestInvariantChargedOnce(t *testing.T) {
	t.Parallel()
	testserver.BothRedises(t, func(t *testing.T, addr string) {
		const messages = 40
		c := &charges{n: map[string]int{}}
		var wg sync.WaitGroup
		for range 4 {
			l := newLimiter(t, addr, settings{}, nil)
			wg.Go(func() { c.deliver(t, l, messages) })
		}
		wg.Wait()
		for id, n := range c.n {
			if n != 1 {
				t.Errorf("%s charged %d times", id, n)
			}
		}
		if n := testserver.ConnectRedis(t, addr).ZCard(t.Context(), "ratelimit:comm_007:command").Val(); n != messages || len(c.n) != messages {
			t.Errorf("%d permits taken, %d IDs charged, want %d", n, len(c.n), messages)
		}
	})
}

// deliver delivers the same messages 20 times, each twice in its batch.
func (c *charges) deliver(t *testing.T, l *Limiter, messages int) {
	t.Helper()
	limit := Limit{Max: int64(messages), Window: time.Hour}
	w := NewWindow("comm_007:command")
	for range 20 {
		batch := make([]*Request, 0, 2*messages)
		for m := range messages {
			r := Request{Window: w, Limit: limit, ID: fmt.Sprint("event-", m), Repeated: true}
			again := r
			batch = append(batch, &r, &again)
		}
		if err := l.AllowBatch(t.Context(), batch); err != nil {
			t.Error(err)
			return
		}
		c.record(t, batch)
	}
}

func (c *charges) record(t *testing.T, batch []*Request) {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, r := range batch {
		if !r.Verdict.Allowed {
			t.Errorf("%s rejected: %+v", r.ID, r.Verdict)
		}
		if r.Verdict.Charged {
			c.n[r.ID]++
		}
	}
}
