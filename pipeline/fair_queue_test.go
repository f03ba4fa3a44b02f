package pipeline

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"arrakis/pipeline/contract"
	"arrakis/tenant"
)

var commands = newRouteSource(nil, contract.KindCommand.Route(), discard)

// queued is the nth delivery of a community of weight 1.
func queued(community string, n int) *delivery {
	d := &delivery{source: commands}
	d.Community, d.EventID = community, fmt.Sprintf("%s%d", community, n)
	d.Tenant = &tenant.Tenant{ID: community, Weight: 1}
	return d
}

func queuedMany(community string, n int) []*delivery {
	batch := make([]*delivery, n)
	for i := range batch {
		batch[i] = queued(community, i)
	}
	return batch
}

// tryNext is next where next would wait: then it returns nil.
func (q *fairQueue) tryNext() *delivery {
	q.mu.Lock()
	defer q.mu.Unlock()
	if b := q.pickLocked(); b != nil {
		return q.startLocked(b)
	}
	return nil
}

// startAll starts all that may start, and returns their names.
func (q *fairQueue) startAll() string {
	var names []string
	for d := q.tryNext(); d != nil; d = q.tryNext() {
		names = append(names, d.EventID)
	}
	return strings.Join(names, " ")
}

// empty fails the test if the queue still knows something.
func (q *fairQueue) empty(tb testing.TB) {
	tb.Helper()
	if len(q.communities) != 0 || len(q.turns) != 0 || len(q.capped) != 0 || q.waiting != 0 || q.running != 0 || q.started != nil {
		tb.Errorf("an empty queue knows %d communities, %d turns, %d capped, %d waiting, %d running",
			len(q.communities), len(q.turns), len(q.capped), q.waiting, q.running)
	}
}

func TestFairQueueTakesTurns(t *testing.T) {
	q := newFairQueue(1, 0)
	batch := append(queuedMany("a", 4), queued("b", 0), queued("c", 0), queued("b", 1))
	q.put(batch)
	q.close()
	var got []string
	d, ok := q.next()
	for ok {
		got = append(got, d.EventID)
		d, ok = q.doneAndNext(d, quantum)
	}
	if want := "a0 b0 c0 a1 b1 a2 a3"; strings.Join(got, " ") != want {
		t.Errorf("order %v, want %s", got, want)
	}
	q.empty(t)
}

func TestFairQueueWakesIdleWorkers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const workers = 5
		q := newFairQueue(workers, workers)
		release := make(chan struct{})
		for range workers {
			go func() {
				d, ok := q.next()
				for ok {
					<-release
					d, ok = q.doneAndNext(d, time.Millisecond)
				}
			}()
		}
		synctest.Wait()
		q.put(queuedMany("a", 8))
		synctest.Wait()
		if waiting, running := q.depth(); running != workers || waiting != 3 {
			t.Errorf("%d run and %d wait, want %d and 3", running, waiting, workers)
		}
		q.close()
		close(release)
		synctest.Wait()
		q.empty(t)
	})
}

// A worker that sends a request to a micro service is back at once, and wakes no other for the messages behind: that
// would cost more than to send the request.
func TestFairQueueWakesNobodyForRequests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const workers = 5
		q := newFairQueue(workers, workers)
		release := make(chan struct{}) // holds a worker, so that it can be seen whether others take messages
		for range workers {
			go func() {
				for d, ok := q.next(); ok; d, ok = q.next() {
					<-release
					q.done(d, time.Millisecond)
				}
			}()
		}
		synctest.Wait()
		batch := queuedMany("a", workers)
		for _, d := range batch {
			d.remote = true
		}
		q.put(batch)
		synctest.Wait()
		if waiting, running := q.depth(); running != 1 || waiting != workers-1 {
			t.Errorf("%d run and %d wait, want 1 and %d", running, waiting, workers-1)
		}
		close(release)
		synctest.Wait()
		if waiting, running := q.depth(); running != 0 || waiting != 0 {
			t.Errorf("%d run and %d wait in the end, want none", running, waiting)
		}
		q.close()
		synctest.Wait()
		q.empty(t)
	})
}

// TestFairQueueForgetsACap: a community whose last message has started at its cap has its turns again when more come. It
// must not stand behind all others.
func TestFairQueueForgetsACap(t *testing.T) {
	q := newFairQueue(4, 0)
	start := func() *delivery {
		t.Helper()
		d := q.tryNext()
		if d == nil {
			t.Fatal("nothing starts")
		}
		return d
	}
	q.put([]*delivery{queued("a", 0), queued("x", 0), queued("y", 0)})
	a0, x0, y0 := start(), start(), start()
	q.put([]*delivery{queued("a", 1)})
	if d := q.tryNext(); d != nil {
		t.Fatalf("%s starts on the last free worker, though its community runs a message", d.EventID)
	}
	q.done(x0, quantum)
	a1 := start()
	q.put(queuedMany("b", 10))
	q.put(queuedMany("c", 10))
	q.put([]*delivery{queued("a", 2)})
	for _, d := range []*delivery{a0, a1, y0} {
		q.done(d, quantum)
	}
	var names []string
	for range 10 {
		d := start()
		names = append(names, d.EventID)
		q.done(d, quantum)
	}
	if !slices.Contains(names, "a2") {
		t.Errorf("a2 is not among the first messages that start: %v", names)
	}
}

// TestFairQueueWakesWhenAPlaceIsFree: a worker that waits because a community is at its cap is woken by whoever ends
// that community's message, on whatever goroutine.
func TestFairQueueWakesWhenAPlaceIsFree(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newFairQueue(4, 1)
		q.put(queuedMany("a", 3))
		started := make(chan *delivery, 3)
		for range 2 {
			go func() {
				for d, ok := q.next(); ok; d, ok = q.next() {
					started <- d
				}
			}()
		}
		for i := range 3 {
			synctest.Wait()
			if n := len(started); n != 1 {
				t.Fatalf("%d have started, want 1: they are in order", n)
			}
			d := <-started
			if want := fmt.Sprintf("a%d", i); d.EventID != want {
				t.Errorf("%s has started, want %s", d.EventID, want)
			}
			if i == 1 {
				q.close()
			}
			q.done(d, time.Millisecond)
		}
		synctest.Wait() // both have ended, or the bubble says that they have not
		q.empty(t)
	})
}

// After an abort, the workers end although messages run, and nothing is taken in.
func TestFairQueueAbort(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newFairQueue(4, 1)
		q.put(append(queuedMany("a", 3), queuedMany("b", 2)...))
		running := []*delivery{q.tryNext(), q.tryNext()}
		go func() {
			if d, ok := q.next(); ok {
				t.Errorf("%s has started", d.EventID)
			}
		}()
		synctest.Wait()
		rest := q.abort()
		if len(rest) != 3 {
			t.Errorf("abort returned %d, want 3", len(rest))
		}
		if q.put(queuedMany("c", 1)) {
			t.Error("an aborted queue takes messages")
		}
		q.close()
		synctest.Wait()
		if still := q.stillRunning(); len(still) != 2 {
			t.Errorf("%d run, want 2", len(still))
		}
		for _, d := range running {
			q.done(d, time.Second)
		}
		q.empty(t)
	})
}

func TestFairQueueDueInProgress(t *testing.T) {
	q := newFairQueue(1, 0)
	now := time.Now()
	batch := []*delivery{queued("a", 0), queued("a", 1), queued("b", 0)}
	for _, d := range batch {
		d.received = now
		d.source = newRouteSource(nil, contract.KindCommand.Route(), discard)
		d.source.ackWait.Store(int64(30 * time.Second))
	}
	q.put(batch)
	q.next()
	if due := q.dueInProgress(now.Add(9*time.Second), 0); len(due) != 0 {
		t.Errorf("%d are due after 9 s of 30 s", len(due))
	}
	if due := q.dueInProgress(now.Add(11*time.Second), 0); len(due) != 3 {
		t.Errorf("%d are due after 11 s of 30 s, want all: those that wait and the one that runs", len(due))
	}
	if due := q.dueInProgress(now.Add(12*time.Second), 0); len(due) != 0 {
		t.Errorf("%d are due again after 1 s", len(due))
	}
}

// JetStream is told nothing of messages that wait and come again, because the connection was lost for longer than their
// ack wait. The queue finds that out without the connection, which may be busy: there is none here.
func TestFairQueueOverdue(t *testing.T) {
	q := newFairQueue(8, 0)
	now := time.Now()
	src := newRouteSource(nil, contract.KindCommand.Route(), discard)
	src.ackWait.Store(int64(30 * time.Second))
	src.redelivers.Store(true)
	for i := range 3 {
		d := queued("a", i)
		d.source, d.received = src, now.Add(-time.Minute)
		q.put([]*delivery{d})
	}
	runs, _ := q.next()
	if !runs.lateTurn {
		t.Error("a message that was overdue at its turn is not noted")
	}
	if due := q.dueInProgress(now, 1); len(due) != 1 || due[0] != runs {
		t.Errorf("%d are due after a new connection, want the one that runs", len(due))
	}
	if due := q.dueInProgress(now, 0); len(due) != 2 {
		t.Errorf("%d are due on the same connection, want the two that wait", len(due))
	}
	if next, _ := q.next(); next.lateTurn {
		t.Error("a message that JetStream has just been told of counts as overdue")
	}
}
