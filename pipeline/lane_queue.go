package pipeline

import (
	"time"

	"arrakis/pipeline/contract"
	"arrakis/pipeline/lanes"
	"arrakis/tenant"
)

// claim is what the fair queue holds of one community from one source, beside what it is to be compared with.
type claim struct {
	community string
	source    *source
	kind      contract.Kind  // of the first of these messages that waits
	tenant    *tenant.Tenant // the same one's
	waiting   int
	bytes     int64         // of the bodies of those that wait or run
	oldest    time.Time     // when this process received the first of the community's messages that wait
	expected  time.Duration // until all that wait have begun, if the community gets all that it may have
	running   float64       // the community's part of all running messages, 0 to 1
	total     int           // what the queue holds from the source, of all communities
}

// claims appends to list a claim for each community and source with messages that wait: at least so many, or of more than
// so many bytes. Lanes are no such sources. It also notes which sources are even.
func (q *fairQueue) claims(list []claim, least int, bytes int64) []claim {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.waiting == 0 {
		return list
	}
	totals := make(map[*source]int)
	for _, b := range q.communities {
		for i := range b.held {
			h := &b.held[i]
			totals[h.source] += h.messages
			if h.source.lane || h.messages < least && h.bytes <= bytes {
				continue
			}
			if c, ok := q.claimLocked(b, h); ok {
				list = append(list, c)
			}
		}
	}
	for s := range totals {
		s.even = !s.lane
	}
	for i := range list {
		c := &list[i]
		c.total = totals[c.source]
		c.source.even = c.source.even && !lanes.BeyondShare(c.waiting, c.total)
	}
	return list
}

// claimLocked returns the claim of b on h, if messages of it wait. The caller must hold q.mu.
func (q *fairQueue) claimLocked(b *backlog, h *held) (c claim, ok bool) {
	first := b.first
	for first != nil && first.source != h.source {
		first = first.next
	}
	if first == nil {
		return c, false
	}
	c = claim{
		community: b.community, source: h.source, kind: first.Kind, tenant: first.Tenant,
		waiting: max(1, h.messages-b.running), bytes: h.bytes, oldest: b.first.received,
		running: float64(b.running) / float64(max(1, q.running)),
	}
	c.expected = time.Duration(c.waiting) * b.estimate / time.Duration(b.alone(q.perTenant, q.workers))
	return c, true
}

// alone is how many messages of a community may run at once while no other has any; 1 if the queue does not know it.
func (q *fairQueue) alone(community string) int {
	q.mu.Lock()
	defer q.mu.Unlock()
	if b := q.communities[community]; b != nil {
		return b.alone(q.perTenant, q.workers)
	}
	return 1
}

// takeBehind takes out the messages of a key that wait behind the first keep of them, and returns them in their order.
// keep must be at least 1.
func (q *fairQueue) takeBehind(key lanes.Key, keep int) (taken []*delivery) {
	q.mu.Lock()
	defer q.mu.Unlock()
	b := q.communities[key.Community]
	if b == nil || b.first == nil {
		return nil
	}
	kept := b.first // the last that stays; the first always does
	if kept.movableInto(key) {
		keep--
	}
	for d := kept.next; d != nil; d = kept.next {
		if moves := d.movableInto(key); !moves || keep > 0 {
			if moves {
				keep--
			}
			kept = d
			continue
		}
		kept.next, d.next = d.next, nil
		b.release(d)
		taken = append(taken, d)
	}
	b.last = kept
	q.waiting -= len(taken)
	return taken
}

// movableInto reports whether d, a message of the key's community, can be moved into the key's lane.
func (d *delivery) movableInto(key lanes.Key) bool { return d.Kind == key.Kind && d.movable() }

// holds reports whether messages of the key wait or run that were not read from a lane.
func (q *fairQueue) holds(key lanes.Key) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	b := q.communities[key.Community]
	if b == nil {
		return false
	}
	for i := range b.held {
		if s := b.held[i].source; !s.lane && (s.route == nil || s.route.Kind == key.Kind) {
			return true
		}
	}
	return false
}
