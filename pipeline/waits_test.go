package pipeline

import (
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"arrakis/pipeline/contract"
	"arrakis/pipeline/lanes"
	"arrakis/tenant"
)

// loads is a fair queue with workers and an overload, in virtual time.
type loads struct {
	*testing.T
	q       *fairQueue
	o       *overload
	source  *source // of COMMANDS
	workers sync.WaitGroup
	highest int // level
}

// runLoads runs communities' loads in a queue of so many workers, and returns the highest level of overload. Handlers
// take handler each. The waits of messages that wait when all loads have been put are judged until none waits.
func runLoads(t *testing.T, workers, perTenant int, handler time.Duration, loads func(l *loads)) (highest int) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		l := newLoads(t, workers, perTenant, 2*time.Second)
		for range workers {
			l.workers.Go(func() {
				for d, ok := l.q.next(); ok; d, ok = l.q.doneAndNext(d, handler) {
					pause(handler)
				}
			})
		}
		loads(l)
		l.q.close()
		for waiting, _ := l.q.depth(); waiting > 0; waiting, _ = l.q.depth() {
			l.pass(1)
		}
		l.workers.Wait()
		highest = l.highest
	})
	return highest
}

// pause lets virtual time pass.
func pause(d time.Duration) { time.Sleep(d) } //nolint:forbidigo // in a bubble

func newLoads(t *testing.T, workers, perTenant int, age time.Duration) *loads {
	t.Helper()
	l := &loads{T: t, q: newFairQueue(workers, perTenant), o: testOverload(age)}
	l.q.waits = newWaits(age)
	l.source = newRouteSource(nil, contract.KindCommand.Route(), discard)
	return l
}

// put puts n commands of a community, which were stored so long ago.
func (l *loads) put(community string, tier tenant.Tier, n int, ago time.Duration) {
	l.Helper()
	batch := make([]*delivery, n)
	for i := range batch {
		d := queued(community, i)
		d.source, d.origin.nanos, d.Tenant = l.source, time.Now().Add(-ago).UnixNano(), &tenant.Tenant{ID: community, Tier: tier, Weight: 1}
		batch[i] = d
	}
	if !l.q.put(batch) {
		l.Fatal("the queue was aborted")
	}
}

// weighing puts a command of a community of so much weight.
func (l *loads) weighing(community string, weight int) {
	d := queued(community, 0)
	d.source, d.origin.nanos, d.Tenant = l.source, time.Now().UnixNano(), &tenant.Tenant{ID: community, Tier: tenant.Enterprise, Weight: weight}
	l.q.put([]*delivery{d})
}

// pass lets so many intervals pass and judges each.
func (l *loads) pass(intervals int) {
	l.Helper()
	for range intervals {
		pause(overloadInterval)
		l.judge()
	}
}

// judge judges what waited since it was called last.
func (l *loads) judge() {
	now := time.Now()
	l.o.judge(now, l.q.takeWaits(now))
	l.highest = max(l.highest, int(l.o.level.Load()))
}

// each puts n commands of each of so many communities of the free tier, stored just now.
func (l *loads) each(communities, n int) {
	l.Helper()
	for i := range communities {
		l.put(fmt.Sprintf("c%03d", i), tenant.Free, n, 0)
	}
}

// TestOneCommunityIsNoOverload: however long the messages of a community over its due wait, nobody is refused.
func TestOneCommunityIsNoOverload(t *testing.T) {
	t.Parallel()
	const short, long = 50 * time.Millisecond, 300 * time.Millisecond
	flood := func(l *loads) { l.put("flood", tenant.Enterprise, 5_000, 0); l.pass(1) }
	few := func(l *loads) { l.put("few", tenant.Free, lanes.DueMessages-1, 0); l.pass(1) }
	for name, tt := range map[string]struct {
		workers, perTenant int
		handler            time.Duration
		loads              func(l *loads)
	}{
		"a flood":                              {8, 0, short, flood},
		"a flood, two workers":                 {2, 0, short, flood},
		"a flood, one at a time":               {8, 1, long, func(l *loads) { l.put("flood", tenant.Free, 500, 0); l.pass(1) }},
		"a flood without a cap":                {8, 8, short, flood},
		"a flood beside quiet ones":            {8, 0, short, func(l *loads) { flood(l); quiet(l, 30) }},
		"the same without a cap":               {8, 8, short, func(l *loads) { flood(l); quiet(l, 30) }},
		"a flood of low worth":                 {64, 0, short, outweighed},
		"old messages that come few at a time": {256, 0, short, trickle},
		"a few messages, two workers":          {2, 0, long, few},
		"a few messages without a cap":         {2, 2, time.Second, few},
		"a few messages, one at a time":        {256, 1, long, few},
		"the same of many communities":         {256, 1, long, func(l *loads) { l.each(100, lanes.DueMessages-1); l.pass(1) }},
		"quiet ones alone":                     {8, 0, short, func(l *loads) { quiet(l, 30) }},
		"a burst that takes 2.5 s":             {8, 0, short, func(l *loads) { l.each(50, 8); quiet(l, 30) }},
	} {
		t.Run(name, func(t *testing.T) {
			if got := runLoads(t, tt.workers, tt.perTenant, tt.handler, tt.loads); got != 0 {
				t.Errorf("the level rose to %d", got)
			}
		})
	}
}

// quiet puts one command of each of 20 communities each second.
func quiet(l *loads, seconds int) {
	for range seconds {
		for i := range 20 {
			l.put(fmt.Sprintf("quiet%d", i), tenant.Free, 1, 0)
			pause(overloadInterval / 20)
		}
		l.judge()
	}
}

// trickle puts old messages of one community, so few at a time that the queue never holds many of it.
func trickle(l *loads) {
	for range 10 {
		for range 20 {
			l.put("flood", tenant.Free, 5, time.Minute)
			pause(overloadInterval / 20)
		}
		l.judge()
	}
}

// outweighed puts a flood of the free tier beside communities whose work, of more weight, leaves little to it.
func outweighed(l *loads) {
	for second := range 20 {
		if second == 1 {
			l.put("flood", tenant.Free, 600, 0)
		}
		for i := range 1_160 { // 58 of 64 workers' time
			l.weighing(fmt.Sprintf("heavy%02d", i%58), 4)
			pause(overloadInterval / 1_160)
		}
		l.judge()
	}
}

// TestManyCommunitiesAreOverload: communities that keep within their due, of which each has little work, but all have too
// much.
func TestManyCommunitiesAreOverload(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		workers int
		loads   func(l *loads)
	}{
		"many":               {2, func(l *loads) { l.each(100, 5); l.pass(5) }},
		"many, many workers": {64, func(l *loads) { l.each(400, 29); l.pass(5) }},
		"beside a flood": {8, func(l *loads) {
			l.put("flood", tenant.Enterprise, 1_000, 0)
			l.each(100, 20)
			l.pass(5)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			if got := runLoads(t, tt.workers, 0, 50*time.Millisecond, tt.loads); got == 0 {
				t.Error("the level has not risen")
			}
		})
	}
}

// TestNothingBegins: handlers that hang are an overload too. Then the message counts that waits for the longest.
func TestNothingBegins(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLoads(t, 2, 0, 2*time.Second)
		l.each(3, 1)
		for range 2 {
			if _, ok := l.q.next(); !ok {
				t.Fatal("no delivery")
			}
		}
		if l.pass(3); l.highest != 0 { // after 3 s one interval was late
			t.Errorf("level %d after 3 s", l.highest)
		}
		if l.pass(2); l.highest != 1 {
			t.Errorf("level %d after 5 s", l.highest)
		}
	})
}

// TestNothingBeginsAtACap: a community whose one handler hangs waits for itself.
func TestNothingBeginsAtACap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLoads(t, 8, 1, 2*time.Second)
		l.put("c", tenant.Free, 5, 0)
		if l.q.tryNext() == nil || l.q.tryNext() != nil {
			t.Fatal("not one at a time")
		}
		if l.pass(10); l.highest != 0 {
			t.Errorf("the level rose to %d", l.highest)
		}
	})
}

// TestWhatCounts: only commands that come for the first time count.
func TestWhatCounts(t *testing.T) {
	for name, change := range map[string]func(*delivery){
		"a command":   func(*delivery) {},
		"a sync":      func(d *delivery) { d.Kind = contract.KindSync },
		"an event":    func(d *delivery) { d.Kind = contract.KindEvent },
		"redelivered": func(d *delivery) { d.admission.Repeated = true },
		"of a lane":   func(d *delivery) { d.source = newSource(nil, contract.StreamOverflow, "lane-00", discard) },
		"of RETRY":    func(d *delivery) { d.source = newSource(nil, contract.StreamRetry, "retry-worker", discard) },
	} {
		t.Run(name, func(t *testing.T) {
			l := newLoads(t, 10, 0, time.Second)
			for i, ago := range []time.Duration{time.Minute, time.Minute, 0} { // the first begins, the second waits
				d := queued(fmt.Sprint(name, i), i)
				d.source, d.origin.nanos, d.Tenant = l.source, time.Now().Add(-ago).UnixNano(), &tenant.Tenant{ID: d.Community, Weight: 1}
				change(d)
				l.q.put([]*delivery{d})
				if i != 1 {
					l.q.next()
				}
			}
			w, want := l.q.takeWaits(time.Now()), 0
			if name == "a command" {
				want = 2
			}
			if w.began != want || w.late(0) != (want > 0) {
				t.Errorf("waits %+v, want %d", w, want)
			}
		})
	}
}
