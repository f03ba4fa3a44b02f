package pipeline

import (
	"context"
	"slices"
	"strings"
	"sync"
	"time"
)

// fairQueue holds what waits for a handler and what is with one. Communities
// take turns: however much one of them has waiting, the next free handler goes
// to the next community. The messages of one community keep their order.
//
// Of the idle workers one is woken for a batch, and each that leaves work
// behind wakes the next: short handlers keep few workers busy, long ones all.
type fairQueue struct {
	capacity int           // set by newFairQueue, read-only
	bytes    int           // the same, for the bodies
	freed    chan struct{} // size 1, a hint: there is room

	mu          sync.Mutex          // protects the fields below
	filled      sync.Cond           // there is something to take, or the queue is closed
	backlogs    map[string]*backlog // by community
	first, last *backlog            // the turns: first is next
	spare       *backlog            // empty ones, to be used again
	waiting     int                 // over all backlogs
	held        int                 // bytes of their bodies
	idle        int                 // workers that wait in next
	running     []*delivery
	closed      bool
}

// backlog is what one community has waiting.
type backlog struct {
	community   string
	first, last *delivery // linked by delivery.next
	next        *backlog
}

// queueBytes bounds the bodies in the fair queue. With the 420 bytes of a usual
// command its capacity is reached long before.
const queueBytes = 256 << 20

// newFairQueue returns a queue with room for capacity deliveries beside those
// that the workers, numbered from 0, have taken.
func newFairQueue(capacity, workers int) *fairQueue {
	q := &fairQueue{
		capacity: max(capacity, 1), bytes: queueBytes, freed: make(chan struct{}, 1),
		backlogs: make(map[string]*backlog), running: make([]*delivery, workers),
	}
	q.filled.L = &q.mu
	return q
}

// put appends a batch, and waits while there is no room for all of it. It
// returns ctx's error.
func (q *fairQueue) put(ctx context.Context, batch []*delivery) error {
	for len(batch) > 0 {
		n, room := q.offer(batch)
		if room {
			select {
			case q.freed <- struct{}{}: // for another sender that waits
			default:
			}
		}
		if batch = batch[n:]; len(batch) == 0 {
			return nil
		}
		select {
		case <-q.freed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// offer appends what there is room for.
func (q *fairQueue) offer(batch []*delivery) (n int, room bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for n < len(batch) && q.roomLocked() {
		q.pushLocked(batch[n])
		n++
	}
	if n > 0 && q.idle > 0 {
		q.filled.Signal()
	}
	return n, q.roomLocked()
}

// roomLocked reports whether one more fits. The caller must hold q.mu.
func (q *fairQueue) roomLocked() bool { return q.waiting < q.capacity && q.held < q.bytes }

// pushLocked appends d to its community's backlog. The caller must hold q.mu.
func (q *fairQueue) pushLocked(d *delivery) {
	q.waiting++
	q.held += len(d.Body)
	b, ok := q.backlogs[d.Community]
	if ok {
		b.last.next = d
		b.last = d
		return
	}
	if b = q.spare; b != nil {
		q.spare = b.next
	} else {
		b = new(backlog)
	}
	*b = backlog{community: d.Community, first: d, last: d}
	q.backlogs[d.Community] = b
	q.turnLocked(b)
}

// turnLocked gives b the last turn. The caller must hold q.mu.
func (q *fairQueue) turnLocked(b *backlog) {
	b.next = nil
	if q.first == nil {
		q.first = b
	} else {
		q.last.next = b
	}
	q.last = b
}

// next waits for the worker's next delivery and returns it, or returns false
// when the queue is closed and empty. The worker is done with the one before.
func (q *fairQueue) next(worker int) (*delivery, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.running[worker] = nil
	for q.first == nil {
		if q.closed {
			return nil, false
		}
		q.idle++
		q.filled.Wait()
		q.idle--
	}
	d := q.popLocked()
	q.running[worker] = d
	if q.first != nil && q.idle > 0 {
		q.filled.Signal()
	}
	select {
	case q.freed <- struct{}{}:
	default:
	}
	return d, true
}

// popLocked takes from the backlog whose turn it is. The caller must hold q.mu
// and know that there is one.
func (q *fairQueue) popLocked() *delivery {
	b := q.first
	q.first = b.next
	d := b.first
	b.first, d.next = d.next, nil
	q.waiting--
	q.held -= len(d.Body)
	if b.first != nil {
		q.turnLocked(b)
		return d
	}
	delete(q.backlogs, b.community)
	*b = backlog{next: q.spare}
	q.spare = b
	return d
}

// dueInProgress returns the deliveries, waiting or running, of which a third of
// the ack wait has passed since JetStream was last told that they are in
// progress. It takes JetStream as told now.
func (q *fairQueue) dueInProgress(now time.Time) []*delivery {
	q.mu.Lock()
	defer q.mu.Unlock()
	var due []*delivery
	check := func(d *delivery) {
		if d != nil && now.Sub(d.inProgress) > time.Duration(d.source.ackWait.Load())/3 {
			d.inProgress = now
			due = append(due, d)
		}
	}
	for b := q.first; b != nil; b = b.next {
		for d := b.first; d != nil; d = d.next {
			check(d)
		}
	}
	for _, d := range q.running {
		check(d)
	}
	return due
}

// names are the handlers that run, for people.
func (q *fairQueue) names() string {
	q.mu.Lock()
	defer q.mu.Unlock()
	var names []string
	for _, d := range q.running {
		if d != nil {
			names = append(names, d.Kind.String()+" "+d.Name(d.Kind))
		}
	}
	slices.Sort(names)
	return strings.Join(slices.Compact(names), ", ")
}

// close lets the workers end once nothing waits. All senders have ended.
func (q *fairQueue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	q.filled.Broadcast()
}

// depth is how many deliveries wait, and how many run.
func (q *fairQueue) depth() (waiting, running int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, d := range q.running {
		if d != nil {
			running++
		}
	}
	return q.waiting, running
}
