package pipeline

import (
	"context"
	"fmt"
	"math"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"arrakis/loadtest/testserver"
	"arrakis/pipeline/contract"
	"arrakis/pipeline/fleet"
	"arrakis/tenant"
)

// The communities with the most messages that wait are named with the busiest ones, and there is a bound on both.
func TestTopIsBounded(t *testing.T) {
	q := newFairQueue(100, 0)
	const communities = 4 * fleet.MaxTop
	for i := range communities {
		batch := queuedMany(fmt.Sprintf("c%03d", i), i+1)
		for _, d := range batch {
			d.Tenant.Tier = tenant.Pro
		}
		q.put(batch)
	}
	first := q.tryNext() // of c000, which then only runs
	top := q.top([]fleet.Community{{ID: first.Community, Tier: "free", Busy: 3}, {ID: "c199", Busy: 2}, {ID: "gone", Busy: 1}})
	if len(top) != fleet.MaxTop+2 {
		t.Errorf("%d communities, want %d by waiting and 2 by handler time", len(top), fleet.MaxTop)
	}
	for i, c := range top[:fleet.MaxTop] {
		if want := communities - i; c.Waiting != want || c.ID != fmt.Sprintf("c%03d", want-1) || i > 0 && c.Tier != "pro" {
			t.Fatalf("number %d is %+v, want %d waiting", i, c, want)
		}
	}
	if top[0].Busy != 2 {
		t.Errorf("the first lost its handler time: %+v", top[0])
	}
	if c := top[fleet.MaxTop]; c.ID != first.Community || c.Waiting != 0 || c.Running != 1 || c.Tier != "free" {
		t.Errorf("the busiest is %+v", c)
	}
}

// What waits of a community is counted right, whatever happens to it.
func TestBacklogCountsWhatWaits(t *testing.T) {
	q := newFairQueue(4, 0)
	q.put(queuedMany("a", 9))
	q.put(queuedMany("b", 3))
	running := []*delivery{q.tryNext(), q.tryNext(), q.tryNext()}
	check := func() {
		t.Helper()
		all := 0
		for _, b := range q.communities {
			n := 0
			for d := b.first; d != nil; d = d.next {
				n++
			}
			if b.waiting != n {
				t.Errorf("%s: %d wait, counted %d", b.community, n, b.waiting)
			}
			all += n
		}
		if all != q.waiting {
			t.Errorf("%d wait, of all %d", all, q.waiting)
		}
	}
	check()
	for _, d := range running {
		q.done(d, time.Millisecond)
	}
	check()
	q.abort()
	check()
}

// Handler time is averaged over some ten seconds, exactly for a load that lasts, and is forgotten when it has ended.
func TestBusyIsAveraged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newActivity(newMetrics(nil, 100, newNames(NewHandlers(), NewHandlers())), newIntake(), newFairQueue(1, 0))
		work, busy := a.work, a.busyOf
		for range 30 {
			time.Sleep(fleet.Interval) //nolint:forbidigo // in a bubble
			for range 4 {
				work("a", 5*time.Second/4) // 2.5 handlers all the time
			}
			a.look(time.Now())
		}
		if b := busy("a"); math.Abs(b-2.5) > 0.05 {
			t.Errorf("busy %v, want 2.5", b)
		}
		time.Sleep(10 * time.Second) //nolint:forbidigo // in a bubble
		if b := busy("a"); b < 0.5 || b > 1.5 {
			t.Errorf("ten seconds later: busy %v, want about a third", b)
		}
		time.Sleep(5 * time.Minute) //nolint:forbidigo // in a bubble
		if busy("a") != 0 || len(a.busy) != 0 {
			t.Errorf("it is not forgotten: %v", a.busy)
		}
		for i := range maxBusy + 10 {
			work(fmt.Sprint("x", i), time.Second)
		}
		if m := a.metrics.tenants; len(m.busy) > 100 || len(m.busyOthers) > maxBusyOthers { // as many as have series, and others
			t.Errorf("%d and %d communities are remembered", len(m.busy), len(m.busyOthers))
		}
	})
}

// work counts a message of a community that has taken handler time.
func (a *activity) work(community string, took time.Duration) {
	d := queued(community, 0)
	d.Tenant.Tier, d.disposition, d.received = tenant.Free, disposition{settlement: ack, status: contract.StatusOK}, time.Now()
	d.began, d.latency = time.Hour, time.Hour+took // it waited for an hour
	a.metrics.record([]*delivery{d})
}

// busyOf looks, and returns how busy a community is. It is 0 if it is not among the busiest.
func (a *activity) busyOf(community string) float64 {
	done := a.look(time.Now())
	i := slices.IndexFunc(done.Top, func(c fleet.Community) bool { return c.ID == community })
	if i < 0 {
		return 0
	}
	return done.Top[i].Busy
}

// The busiest community is named also if it came when all series were taken, or when as many communities as are remembered
// were busy, and while others come all the time.
func TestBusiestBeyondTheBounds(t *testing.T) {
	for name, series := range map[string]int{"series": 10, "memory": 2 * maxBusy} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a := newActivity(newMetrics(nil, series, newNames(NewHandlers(), NewHandlers())), newIntake(), newFairQueue(1, 0))
				for i := range maxBusy {
					a.work(fmt.Sprint("early", i), time.Second)
				}
				for round := range 30 {
					time.Sleep(fleet.Interval) //nolint:forbidigo // in a bubble
					a.look(time.Now())
					for i := range 2 * maxBusyOthers {
						a.work(fmt.Sprint("light", round, "-", i), 10*time.Millisecond)
						if i%100 == 0 {
							a.work("hog", 2*fleet.Interval/40) // two handlers all the time
						}
					}
				}
				time.Sleep(fleet.Interval) //nolint:forbidigo // in a bubble
				if b := a.busyOf("hog"); math.Abs(b-2) > 0.1 {
					t.Errorf("busy %v, want 2", b)
				}
				if len(a.busy) > maxBusy {
					t.Errorf("%d communities are remembered", len(a.busy))
				}
			})
		})
	}
}

// Of many, the lighter half is forgotten, also if all weigh the same.
func TestForgetLighter(t *testing.T) {
	for _, weights := range [][]int{{1, 2, 3, 4, 5, 6, 7, 8}, {5, 5, 5, 5, 5, 5}, {1, 9, 9, 9, 9, 9}, {1, 1, 1, 1, 2, 3}, {3}, {1, 2, 3}} {
		m := map[int]int{}
		for i, w := range weights {
			m[i] = w
		}
		forgetLighter(m, func(w int) int { return w })
		sorted := slices.Sorted(slices.Values(weights))
		median := sorted[len(sorted)/2]
		if want := len(weights) - len(weights)/2; len(m) != want {
			t.Errorf("%v: %v is left, want %d", weights, m, want)
		}
		for i, w := range weights {
			if _, ok := m[i]; !ok && w > median {
				t.Errorf("%v: %v is left, without number %d", weights, m, i)
			}
		}
	}
}

// Activity of a pipeline that works: rates of what comes and how it ends, and the community that keeps it busy.
func TestActivity(t *testing.T) {
	b := setup(t)
	release := make(chan struct{})
	b.handlers.Command("slow", func(ctx context.Context, _ *Message) (any, error) {
		select {
		case <-release:
			<-time.After(5 * time.Millisecond) // so that it has been busy for longer than what counts as nothing
		case <-ctx.Done():
		}
		return "done", nil
	})
	b.handlers.Command("bad", func(context.Context, *Message) (any, error) { return nil, Permanent(404, "no") })
	b.handlers.Command("panics", func(context.Context, *Message) (any, error) { panic("at the disco") })
	b.options = func(o *Options) { o.HandlerConcurrency = 4 }
	p, _ := b.start()
	const messages = 10
	for i := range messages { // the limit of a free community
		b.publish("commands.interaction", command("hog", "slow", fmt.Sprint("slow", i)))
	}
	testserver.Eventually(t, "some run and some wait", func() bool {
		waiting, running := p.admitted.depth()
		return running > 0 && waiting+running == messages
	})
	done := p.Activity()
	if done.InProcess != messages || done.Waiting+done.Running != messages || done.Rates.In <= 0 || len(done.Top) != 1 {
		t.Errorf("%+v", done)
	}
	if c := done.Top[0]; c.ID != "hog" || c.Tier != "free" || c.Waiting != done.Waiting || c.Running != done.Running {
		t.Errorf("top %+v", c)
	}
	close(release)
	for i := range 2 {
		b.publish("commands.interaction", command("hog", "slow", fmt.Sprint("over", i)))
		b.publish("commands.interaction", command("other", "bad", fmt.Sprint("bad", i)))
		b.publish("commands.interaction", command("other", "panics", fmt.Sprint("panics", i)))
	}
	var ended totals
	testserver.Eventually(t, "all have ended", func() bool {
		ended = p.activity.metrics.totals()
		_, held := p.activity.intake.counts()
		waiting, running := p.admitted.depth()
		return ended == totals{handled: messages + 2, limited: 2, failed: 2, deadLettered: 2} && held+waiting+running == 0
	})
	done = p.Activity()
	if done.InProcess != 0 || done.Rates.Handled <= done.Rates.Limited || done.Rates.DeadLettered <= 0 || done.Rates.Failed <= 0 {
		t.Errorf("%+v", done)
	}
	if !slices.ContainsFunc(done.Top, func(c fleet.Community) bool { return c.ID == "hog" && c.Busy > 0 }) {
		t.Errorf("top %+v", done.Top)
	}
}

// BenchmarkActivity measures one look, which a worker makes every two seconds, with the messages of many communities in
// the queue and handler time of each. queue is the part for which the lock of the queue is held.
func BenchmarkActivity(b *testing.B) {
	for _, communities := range []int{100, 10_000} {
		q := newFairQueue(256, 0)
		for i := range communities {
			q.put(queuedMany(fmt.Sprint("c", i), 1+i%4))
		}
		a := newActivity(newMetrics(nil, communities, newNames(NewHandlers(), NewHandlers())), newIntake(), q)
		batch := make([]*delivery, communities)
		for i := range batch {
			batch[i] = queued(fmt.Sprint("c", i), 0)
			batch[i].received, batch[i].latency = time.Now(), time.Second
			batch[i].disposition = disposition{settlement: ack, status: contract.StatusOK}
		}
		b.Run(fmt.Sprintf("communities=%d/all", communities), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				b.StopTimer()
				a.metrics.record(batch)
				b.StartTimer()
				a.look(time.Now())
			}
		})
		b.Run(fmt.Sprintf("communities=%d/queue", communities), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				q.top(nil)
			}
		})
	}
}
