package pipeline

import (
	"context"
	"slices"
	"strings"
	"sync"
	"time"
)

// fairQueue holds the deliveries that wait for a handler and those that a handler is working on. It has no bound of its
// own: the sources bound what is in the process. The messages of a community start in their order.
//
// Which community starts the next message is decided by turns, in proportion to weights and charged with the time of
// handlers. How many of a community's messages run at once is bounded by what is free for others. turns.go is the
// arithmetic of both. A community that may not start another message waits in capped, where it costs nothing until
// enough workers are free.
//
// A new batch wakes one idle worker, and so does a message that ends. A worker that leaves a message behind that may
// start wakes the next worker, unless its own message is for a micro service: then it will be back at once, to start that
// message itself. So few workers run while handlers are short, and all that may run do so while handlers are long.
type fairQueue struct {
	workers   int // messages that may run at once; read-only
	perTenant int // messages of one community that may run at once; 0: as the dynamic threshold says; read-only

	mu          sync.Mutex          // protects the fields below
	startable   sync.Cond           // a message may start, or no more will come
	communities map[string]*backlog // those that have messages that wait or run
	turns       line                // those that have messages that wait, without
	capped      line                // those at their cap
	round       int64               // the round of the turn that is on
	places      uint64              // given to communities in their rounds
	estimate    time.Duration       // of a handler's time, a moving average over all communities
	waiting     int
	running     int
	started     *delivery // those that run, linked by delivery.next and previous
	idle        int       // workers that are blocked in next
	woken       bool      // one of them is waking, and will look
	waits       *waits    // of this interval
	arrivals    uint64    // deliveries that were put
	spare       *backlog  // a list of backlogs to be used again
	closed      bool
	aborted     bool // nothing is taken in any more
}

// newFairQueue returns a queue of which so many messages may run at once, and so many of one community. perTenant 0 is
// as many as the dynamic threshold allows.
func newFairQueue(workers, perTenant int) *fairQueue {
	q := &fairQueue{
		workers: workers, perTenant: perTenant, communities: make(map[string]*backlog), estimate: quantum, waits: newWaits(0),
	}
	q.startable.L = &q.mu
	return q
}

// put appends a batch. It does not block. It returns false if the queue was aborted: then it has not taken the batch.
func (q *fairQueue) put(batch []*delivery) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.aborted {
		return false
	}
	for _, d := range batch {
		b := q.backlogLocked(d)
		b.push(d)
		q.arrivedLocked(b, d)
		if b.in == nil {
			b.enter(q.round)
			q.placeLocked(b)
		}
	}
	q.waiting += len(batch)
	q.wakeLocked()
	return true
}

// backlogLocked finds or makes the backlog of d's community. The caller must hold q.mu.
func (q *fairQueue) backlogLocked(d *delivery) *backlog {
	b := q.communities[d.Community]
	if b == nil {
		if b = q.spare; b != nil {
			q.spare, b.spare = b.spare, nil
		} else {
			b = new(backlog)
		}
		b.community, b.estimate = d.Community, q.estimate
		q.communities[d.Community] = b
	}
	q.weighLocked(b, d.Tenant.Weight)
	return b
}

// placeLocked puts b at the end of the round in which it has its turn. The caller must hold q.mu.
func (q *fairQueue) placeLocked(b *backlog) {
	q.places++
	b.place = q.places
	if b.in == nil {
		q.turns.add(b)
	} else {
		b.in.moved(b)
	}
}

// next waits for a delivery that may start, which then counts as running until done. It returns false when the queue is
// closed and none waits.
func (q *fairQueue) next() (*delivery, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.nextLocked()
}

// doneAndNext is done and then next, for a worker that has run the handler itself.
func (q *fairQueue) doneAndNext(d *delivery, took time.Duration) (*delivery, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.doneLocked(d, took)
	return q.nextLocked()
}

// done tells the queue that d, which next has returned, does not run any more, and how long its handler took. Any
// goroutine may call it.
func (q *fairQueue) done(d *delivery, took time.Duration) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.doneLocked(d, took)
	q.wakeLocked()
}

// ends says that no handler works on d any more, which counts as running all the same until it is settled.
func (q *fairQueue) ends(d *delivery) {
	q.mu.Lock()
	defer q.mu.Unlock()
	d.unsettled = true
}

// settled is done for a delivery that ends was called for.
func (q *fairQueue) settled(d *delivery, took time.Duration) {
	q.mu.Lock()
	defer q.mu.Unlock()
	d.unsettled = false
	q.doneLocked(d, took)
	q.wakeLocked()
}

func (q *fairQueue) nextLocked() (*delivery, bool) {
	for {
		if b := q.pickLocked(); b != nil {
			d := q.startLocked(b)
			if !d.remote {
				q.wakeLocked()
			}
			return d, true
		}
		if q.endedLocked() {
			q.wakeLocked()
			return nil, false
		}
		q.idle++
		q.startable.Wait()
		q.idle--
		q.woken = false
	}
}

// wakeLocked wakes an idle worker if there is something to do. The caller must hold q.mu.
func (q *fairQueue) wakeLocked() {
	if q.idle > 0 && !q.woken && (q.endedLocked() || q.pickLocked() != nil) {
		q.woken = true
		q.startable.Signal()
	}
}

// endedLocked reports whether no message will start any more. The caller must hold q.mu.
func (q *fairQueue) endedLocked() bool { return q.closed && q.waiting == 0 }

// pickLocked returns the community whose message starts next, or nil if none may start now. The caller must hold q.mu.
func (q *fairQueue) pickLocked() *backlog {
	free := q.workers - q.running
	if free <= 0 {
		return nil
	}
	for len(q.turns) > 0 {
		need := q.turns[0].threshold(q.perTenant, q.workers)
		if need <= free {
			break
		}
		b := q.turns[0]
		q.turns.remove(b)
		b.need = need
		q.capped.add(b)
	}
	switch {
	case len(q.capped) == 0 || q.capped[0].need > free:
		return q.turns.first()
	case len(q.turns) == 0 || q.capped[0].before(&q.turns[0].account):
		return q.capped[0]
	default:
		return q.turns[0]
	}
}

// startLocked takes the next delivery of b, which pickLocked has returned. The caller must hold q.mu.
func (q *fairQueue) startLocked(b *backlog) *delivery {
	d := b.pop()
	now := time.Now()
	d.began = now.Sub(d.received)
	d.lateTurn = d.source.redelivers.Load() && d.overdue(now.Add(-overdueMargin))
	q.beganLocked(b, d, now)
	q.waiting--
	q.running++
	q.round = max(q.round, b.round)
	charged, changed := b.start(q.round)
	d.charged = charged
	if d.next = q.started; d.next != nil {
		d.next.previous = d
	}
	q.started = d
	switch {
	case b.first == nil:
		b.in.remove(b)
	case changed:
		q.placeLocked(b)
	}
	if b.in == &q.capped {
		b.need = b.threshold(q.perTenant, q.workers)
		q.capped.moved(b)
	}
	return d
}

// doneLocked is done without waking anybody. The caller must hold q.mu.
func (q *fairQueue) doneLocked(d *delivery, took time.Duration) {
	if d.previous == nil {
		q.started = d.next
	} else {
		d.previous.next = d.next
	}
	if d.next != nil {
		d.next.previous = d.previous
	}
	d.next, d.previous = nil, nil
	q.running--
	b := d.backlog
	b.release(d)
	took = max(took, minCharge)
	average(&q.estimate, took)
	changed := b.done(d.charged, took, q.round)
	if b.in == &q.capped { // it may have come below its cap
		q.leftCapLocked(b, b.running+1)
		q.capped.remove(b)
		q.turns.add(b)
	}
	switch {
	case b.in != nil && changed:
		q.placeLocked(b)
	case b.first == nil && b.running == 0:
		q.forgetLocked(b)
	}
}

// forgetLocked forgets b, of which no message waits or runs. The caller must hold q.mu.
func (q *fairQueue) forgetLocked(b *backlog) {
	delete(q.communities, b.community)
	*b = backlog{held: b.held[:0], spare: q.spare}
	q.spare = b
}

// dueInProgress returns every delivery, waiting or running, about which JetStream last heard more than a third of its
// ack wait ago. It marks them as reported now: the caller must tell JetStream that they are in progress. Of messages that
// wait and are to be forgotten, JetStream must hear nothing any more: it would put off their next delivery. reconnects is
// how often the connection to NATS has been made again; there is one.
func (q *fairQueue) dueInProgress(now time.Time, reconnects uint32) []*delivery {
	q.mu.Lock()
	defer q.mu.Unlock()
	var due []*delivery
	check := func(d *delivery) {
		if now.Sub(d.inProgress()) > time.Duration(d.source.ackWait.Load())/3 {
			d.wasOverdue = d.wasOverdue || d.overdue(now)
			d.told = now.Sub(d.received)
			due = append(due, d)
		}
	}
	for _, b := range q.communities {
		for d := b.first; d != nil; d = d.next {
			if comesAgain := d.reconnects != reconnects && d.source.redelivers.Load() && d.overdue(now); !comesAgain {
				check(d)
			}
		}
	}
	for d := q.started; d != nil; d = d.next {
		check(d)
	}
	return due
}

// ours reports whether no other process can have been given d since this one decoded it: JetStream was told in time
// that d is in progress, and the connection was not lost.
func (q *fairQueue) ours(d *delivery, now time.Time) bool {
	same := d.reconnects == d.source.connections()
	q.mu.Lock()
	defer q.mu.Unlock()
	return same && !d.wasOverdue && !d.overdue(now)
}

// overdue reports whether d's ack wait has passed since JetStream was last told that d is in progress. The caller must
// hold the fair queue's lock.
func (d *delivery) overdue(now time.Time) bool {
	return now.Sub(d.inProgress()) >= time.Duration(d.source.ackWait.Load())
}

// overdueMargin is how much longer than its ack wait JetStream must have heard nothing of a message that waits before this
// process forgets it. Word that was on its way to JetStream may have arrived late.
const overdueMargin = time.Second

// toForget reports whether JetStream delivers d, whose turn has come, again, or has done so, without hearing of it: the
// connection was lost, and the last word that could reach JetStream is longer ago than the ack wait. To handle such a
// message would be to handle it once for each of its deliveries, and an outage would cost the whole backlog of a process
// twice or more. So it is forgotten. Nothing is lost by that, even if JetStream believes that d is still in progress: nobody
// tells it so any more, and d comes when the ack wait has passed. Do not call it under the fair queue's lock: it asks the
// NATS library, which may be writing.
func (d *delivery) toForget() bool { return d.lateTurn && d.source.lostSince(d.reconnects) }

// inProgress is when JetStream was last told that d is in progress: at first, that is when d was received. The caller
// must hold the fair queue's lock.
func (d *delivery) inProgress() time.Time { return d.received.Add(d.told) }

// abort ends the queue's intake, and takes out and returns all that wait, each community's in their order.
func (q *fairQueue) abort() []*delivery {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.aborted = true
	all := make([]*delivery, 0, q.waiting)
	for _, b := range q.communities {
		for b.first != nil {
			d := b.pop()
			b.release(d)
			all = append(all, d)
		}
		if b.in != nil {
			b.in.remove(b)
		}
		if b.running == 0 {
			q.forgetLocked(b)
		}
	}
	q.waiting = 0
	q.wakeLocked()
	return all
}

// stillRunning returns the deliveries whose handlers run. A handler may return at any time, and its worker owns the
// delivery: of what it has, the caller may use only what decode has set.
func (q *fairQueue) stillRunning() []*delivery {
	q.mu.Lock()
	defer q.mu.Unlock()
	var all []*delivery
	for d := q.started; d != nil; d = d.next {
		if !d.unsettled {
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
	q.wakeLocked()
}

const (
	// enough is how many messages that wait keep the workers busy, however fast they are.
	enough = 1_000
	// fast is how long all that wait may take for handlers to count as fast. What takes longer can be in others' way.
	fast = 200 * time.Millisecond
	// catchUpTime is how long decode waits for the workers, at most, and catchUpPause the time between two looks.
	catchUpTime  = 20 * time.Millisecond
	catchUpPause = time.Millisecond
)

// catchUp waits, for catchUpTime at most, while more than enough messages of a source wait for handlers that are fast. A
// process that holds thousands of them finds none in the processor's caches when its turn comes: with handlers over NATS,
// each cost a tenth more CPU. It does not wait if a community has more than its share of them. What is behind these in
// JetStream must not wait for them, and the more of them are here, the sooner it is seen that they belong into a lane.
func (q *fairQueue) catchUp(ctx context.Context, s *source) {
	for end := time.Now().Add(catchUpTime); q.catchesUp(s) && time.Now().Before(end); {
		select {
		case <-ctx.Done():
			return
		case <-time.After(catchUpPause):
		}
	}
}

// catchesUp reports whether catchUp is to wait.
func (q *fairQueue) catchesUp(s *source) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return s.even && s.queued > q.workers+enough && time.Duration(s.queued)*q.estimate < fast*time.Duration(q.workers)
}

// depth returns how many deliveries wait and how many run.
func (q *fairQueue) depth() (waiting, running int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.waiting, q.running
}
