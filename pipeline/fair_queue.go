package pipeline

import (
	"context"
	"slices"
	"strings"
	"sync"
	"time"
)

// fairQueue holds the deliveries that wait for a handler and those that a handler is working on. Communities take
// turns: however many messages one community has waiting, the next free worker takes a message of the next community.
// The messages of one community keep their order.
//
// A new batch wakes one idle worker. A worker that leaves deliveries waiting wakes the next worker. So few workers run
// while handlers are short, and all run while handlers are long.
type fairQueue struct {
	capacity int           // set by newFairQueue, read-only
	bytes    int           // the bodies' capacity in bytes; read-only as well
	freed    chan struct{} // size 1: tells a waiting sender that there is room

	mu          sync.Mutex          // protects the fields below
	filled      sync.Cond           // a delivery waits, or the queue is closed
	backlogs    map[string]*backlog // by community
	first, last *backlog            // backlogs in the order of their turns; first is the next
	spare       *backlog            // list of empty backlogs, to be used again
	waiting     int                 // deliveries in all backlogs
	held        int                 // bytes of the bodies of waiting deliveries
	idle        int                 // workers that are blocked in next
	running     []*delivery
	closed      bool
	aborted     bool // nothing is taken in any more
}

// backlog holds the waiting deliveries of one community.
type backlog struct {
	community   string
	first, last *delivery // linked by delivery.next
	next        *backlog
}

// queueBytes bounds the bytes of bodies in the fair queue. A usual command has 420 bytes; with such messages the queue
// reaches its capacity long before queueBytes.
const queueBytes = 256 << 20

// newFairQueue returns a queue with room for capacity waiting deliveries. Workers are numbered from 0; the deliveries
// that they work on do not count.
func newFairQueue(capacity, workers int) *fairQueue {
	q := &fairQueue{
		capacity: max(capacity, 1), bytes: queueBytes, freed: make(chan struct{}, 1),
		backlogs: make(map[string]*backlog), running: make([]*delivery, workers),
	}
	q.filled.L = &q.mu
	return q
}

// put appends a batch, and waits while there is no room for the whole batch. It returns those that have found no room
// when ctx ended or the queue was aborted.
func (q *fairQueue) put(ctx context.Context, batch []*delivery) (rest []*delivery) {
	for ctx.Err() == nil && len(batch) > 0 {
		n, room := q.offer(batch)
		if room {
			select {
			case q.freed <- struct{}{}: // wakes another waiting sender
			default:
			}
		}
		if batch = batch[n:]; len(batch) == 0 {
			return nil
		}
		select {
		case <-q.freed:
		case <-ctx.Done():
		}
	}
	return batch
}

// offer appends as many deliveries as there is room for.
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

// roomLocked reports whether one more delivery fits. The caller must hold q.mu.
func (q *fairQueue) roomLocked() bool {
	return q.waiting < q.capacity && q.held < q.bytes && !q.aborted
}

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

// turnLocked puts b at the end of the turns. The caller must hold q.mu.
func (q *fairQueue) turnLocked(b *backlog) {
	b.next = nil
	if q.first == nil {
		q.first = b
	} else {
		q.last.next = b
	}
	q.last = b
}

// next waits for a delivery for the worker and returns it. It returns false when the queue is closed and empty. The
// worker has finished its previous delivery.
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

// popLocked takes a delivery from the backlog whose turn it is. The caller must hold q.mu and know that a delivery
// waits.
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

// dueInProgress returns every delivery, waiting or running, about which JetStream last heard more than a third of its
// ack wait ago. It marks them as reported now: the caller must tell JetStream that they are in progress.
func (q *fairQueue) dueInProgress(now time.Time) []*delivery {
	q.mu.Lock()
	defer q.mu.Unlock()
	var due []*delivery
	check := func(d *delivery) {
		if d != nil && now.Sub(d.inProgress) > time.Duration(d.source.ackWait.Load())/3 {
			d.lapsed = d.lapsed || d.overdue(now)
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

// ours reports whether no other process can have been given d since this one decoded it: JetStream was told in time
// that d is in progress, and the connection was not lost.
func (q *fairQueue) ours(d *delivery, now time.Time) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return !d.lapsed && !d.overdue(now) && d.reconnects == d.source.connections()
}

// overdue reports whether d's ack wait has passed since JetStream was last told that d is in progress. The caller must
// hold the fair queue's lock.
func (d *delivery) overdue(now time.Time) bool {
	return now.Sub(d.inProgress) >= time.Duration(d.source.ackWait.Load())
}

// abort ends the queue's intake, and takes out and returns all that wait.
func (q *fairQueue) abort() []*delivery {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.aborted = true
	var all []*delivery
	for q.first != nil {
		all = append(all, q.popLocked())
	}
	return all
}

// stillRunning returns the deliveries whose handlers run. A handler may return at any time, and its worker owns the
// delivery: of what it has, the caller may use only what decode has set.
func (q *fairQueue) stillRunning() []*delivery {
	q.mu.Lock()
	defer q.mu.Unlock()
	var all []*delivery
	for _, d := range q.running {
		if d != nil {
			all = append(all, d)
		}
	}
	return all
}

// handlerNames lists handlers, as text for people.
func handlerNames(running []*delivery) string {
	var names []string
	for _, d := range running {
		names = append(names, d.Kind.String()+" "+d.Name(d.Kind))
	}
	slices.Sort(names)
	return strings.Join(slices.Compact(names), ", ")
}

// close lets the workers end once no delivery waits. The caller makes sure that all senders have ended.
func (q *fairQueue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	q.filled.Broadcast()
}

// depth returns how many deliveries wait and how many run.
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
