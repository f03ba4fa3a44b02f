package pipeline

import (
	"time"

	"arrakis/pipeline/contract"
	"arrakis/pipeline/lanes"
)

// maxHeavy bounds the communities of which slow messages are counted. One that takes much is among the first.
const maxHeavy = 1_000

// waits counts how long commands waited for their handlers, in one interval. Only those count whose wait tells that
// there is too much work: see backlog.counts.
type waits struct {
	age   time.Duration
	began int
	tiers [numTiers]waitCounts
	// heavy are the slow messages by community, so that one that began more than its due can be left out.
	heavy map[string]*heavyCounts
}

// waitCounts counts messages of one tier.
type waitCounts struct {
	began int
	slow  int // those that waited for more than half of the age
	late  int // those that waited for more than the age
}

type heavyCounts struct {
	tier int
	waitCounts
}

func newWaits(age time.Duration) *waits {
	return &waits{age: age, heavy: make(map[string]*heavyCounts)}
}

// add counts a message that waited for so long.
func (w *waits) add(community string, tier int, wait time.Duration) {
	w.began++
	c := waitCounts{began: 1}
	if wait > w.age/2 {
		c.slow = 1
		if wait > w.age {
			c.late = 1
		}
		h := w.heavy[community]
		if h == nil && len(w.heavy) < maxHeavy {
			h = &heavyCounts{tier: tier}
			w.heavy[community] = h
		}
		if h != nil {
			h.plus(c, 1)
		}
	}
	w.tiers[tier].plus(c, 1)
}

func (c *waitCounts) plus(d waitCounts, sign int) {
	c.began += sign * d.began
	c.slow += sign * d.slow
	c.late += sign * d.late
}

// leaveOutHeavy leaves out the slow messages of communities that began more than their due. What such a community waits
// for is its own work.
func (w *waits) leaveOutHeavy() {
	for _, h := range w.heavy {
		if lanes.BeyondDue(h.began, w.began) {
			w.tiers[h.tier].plus(h.waitCounts, -1)
		}
	}
}

// late reports whether half of the messages of a tier, from tier up, waited for too long.
func (w *waits) late(tier int) bool {
	for _, c := range w.tiers[tier:] {
		if 2*c.late > c.began {
			return true
		}
	}
	return false
}

// calm reports whether half of the messages of each tier, from tier up, waited for less than half of the age.
func (w *waits) calm(tier int) bool {
	for _, c := range w.tiers[tier:] {
		if 2*c.slow > c.began {
			return false
		}
	}
	return true
}

// A community waits for itself, and not because there is too much work, while it takes more than its due: of what the
// queue holds from a source, or of the workers; or while it is at its TENANT_CONCURRENCY. What of it is in the queue then
// is excused: it does not count when it begins, which may be much later.

// arrivedLocked notes that d has been put into b. The caller must hold q.mu.
func (q *fairQueue) arrivedLocked(b *backlog, d *delivery) {
	q.arrivals++
	d.arrival = q.arrivals
	if lanes.BeyondDue(b.holds(d.source), d.source.queued) {
		b.excused = q.arrivals
	}
}

// leftCapLocked notes that b, of which so many ran, has been at its cap. The caller must hold q.mu.
func (q *fairQueue) leftCapLocked(b *backlog, running int) {
	if q.perTenant > 0 || lanes.BeyondShare(running, q.workers) {
		b.excused = q.arrivals
	}
}

// beganLocked counts d, the first of b's, whose turn has come. b.running does not include it yet. The caller must hold
// q.mu.
func (q *fairQueue) beganLocked(b *backlog, d *delivery, now time.Time) {
	if d.lateTurn { // its wait tells of an outage, or of a process that stood still, and nothing about handlers
		return
	}
	if lanes.BeyondShare(b.running, q.workers) {
		b.excused = q.arrivals
	}
	if !d.fresh() {
		return
	}
	d.waited = max(1, d.source.age(d.origin.stored(), now))
	if q.waits.age > 0 && b.counts(d) {
		q.waits.add(b.community, worth(d.Tenant.Tier), d.waited)
	}
}

// counts reports whether the time that d waits tells that there is too much work: d is a command that has come for the
// first time, and is not excused.
func (b *backlog) counts(d *delivery) bool {
	return d.Kind == contract.KindCommand && d.arrival > b.excused && d.fresh()
}

// takeWaits returns the waits since it was called last. Of a tier of which no message has begun meanwhile, the one
// counts that waits for the longest.
func (q *fairQueue) takeWaits(now time.Time) *waits {
	q.mu.Lock()
	defer q.mu.Unlock()
	w := q.waits
	q.waits = newWaits(w.age)
	w.leaveOutHeavy()
	var oldest [numTiers]time.Duration
	if q.waiting > 0 {
		q.oldestLocked(now, &oldest)
	}
	for tier, age := range oldest {
		if w.tiers[tier].began == 0 && age > 0 {
			w.add("", tier, age)
		}
	}
	return w
}

// oldestLocked sets how long the command that waits for the longest has waited, of those that count, by tier. The
// caller must hold q.mu.
func (q *fairQueue) oldestLocked(now time.Time, oldest *[numTiers]time.Duration) {
	for _, b := range q.communities {
		if b.in == &q.capped {
			q.leftCapLocked(b, b.running)
		}
		for d := b.first; d != nil; d = d.next {
			if b.counts(d) {
				tier := worth(d.Tenant.Tier)
				oldest[tier] = max(oldest[tier], d.source.age(d.origin.stored(), now))
				break // the others have come later
			}
		}
	}
}
