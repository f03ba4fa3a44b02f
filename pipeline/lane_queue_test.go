package pipeline

import (
	"fmt"
	"testing"
	"time"

	"arrakis/pipeline/contract"
	"arrakis/pipeline/lanes"
	"arrakis/shard"
)

func TestClaims(t *testing.T) {
	began := time.Unix(1_700_000_000, 0)
	lane := &source{lane: true}
	q := newFairQueue(8, 0)
	put := func(community string, s *source, n, body int) {
		for i := range n {
			d := queued(community, i)
			d.source, d.received, d.Body = s, began.Add(time.Duration(i)*time.Second), make([]byte, body)
			q.put([]*delivery{d})
		}
	}
	put("many", commands, 6, 1)
	put("few", commands, 2, 1)
	put("large", commands, 1, 1_000)
	put("in a lane", lane, 9, 1_000)
	for _, c := range q.claims(nil, 5, 500) {
		want := claim{
			community: "many", source: commands, kind: contract.KindCommand, tenant: c.tenant,
			waiting: 6, bytes: 6, oldest: began, expected: 6 * quantum / 4, total: 9,
		}
		if c.community == "large" {
			want.community, want.waiting, want.bytes, want.expected = "large", 1, 1_000, quantum/4
		}
		if c != want || c.tenant.ID != c.community {
			t.Errorf("%+v, want %+v", c, want)
		}
	}
	if n := len(q.claims(nil, 5, 500)); n != 2 {
		t.Errorf("%d claims, want 2", n)
	}

	running := q.tryNext()
	for running.Community != "many" {
		running = q.tryNext()
	}
	for _, c := range q.claims(nil, 5, 5_000) {
		if c.waiting != 5 || c.oldest != began.Add(time.Second) || c.running <= 0 || c.running > 1 {
			t.Errorf("one runs: %+v", c)
		}
	}
}

// What is taken out is what waits of one key behind those that are kept, in its order. The rest stays, in its order.
func TestTakeBehind(t *testing.T) {
	key := lanes.Key{Kind: contract.KindCommand, Community: "a"}
	lane := &source{lane: true}
	for keep := 1; keep <= 8; keep++ {
		q := newFairQueue(1, 0)
		var batch []*delivery
		for i := range 12 { // every fourth is of another kind, and the next one was read from a lane
			d := queued("a", i)
			switch i % 4 {
			case 1:
				d.Kind = contract.KindEvent
			case 2:
				d.source = lane
			}
			batch = append(batch, d)
		}
		q.put(batch)
		q.put(queuedMany("b", 2))
		var taken, stay string
		for _, d := range q.takeBehind(key, keep) {
			taken += d.EventID + " "
		}
		movable := 0
		for i := range 12 {
			if batch[i].Kind != contract.KindCommand || batch[i].source == lane {
				stay += fmt.Sprintf("a%d ", i)
				continue
			}
			if movable++; movable <= keep {
				stay += fmt.Sprintf("a%d ", i)
			} else if next := fmt.Sprintf("a%d ", i); taken[:len(next)] != next {
				t.Errorf("keep %d: taken %q, want %q", keep, taken, next)
			} else {
				taken = taken[len(next):]
			}
		}
		if taken != "" {
			t.Errorf("keep %d: %q taken as well", keep, taken)
		}
		late := queued("a", 99)
		q.put([]*delivery{late})
		stay += "a99 "
		var got string
		for d := q.tryNext(); d != nil; d = q.tryNext() {
			if d.Community == "a" {
				got += d.EventID + " "
			}
			q.done(d, time.Millisecond)
		}
		if got != stay {
			t.Errorf("keep %d: %q stay, want %q", keep, got, stay)
		}
		q.empty(t)
	}
	if q := newFairQueue(1, 0); q.takeBehind(key, 1) != nil {
		t.Error("taken from an empty queue")
	}
}

func TestQueueHolds(t *testing.T) {
	q := newFairQueue(2, 0)
	command, event := lanes.Key{Kind: contract.KindCommand, Community: "a"}, lanes.Key{Kind: contract.KindEvent, Community: "a"}
	q.put([]*delivery{{Message: Message{Community: "a", Tenant: queued("a", 0).Tenant}, source: &source{lane: true}}})
	if q.holds(command) {
		t.Error("what was read from a lane counts")
	}
	route := &source{route: contract.KindCommand.Route()}
	q.put([]*delivery{{Message: Message{Community: "a", Tenant: queued("a", 0).Tenant}, source: route}})
	if !q.holds(command) || q.holds(event) || q.holds(lanes.Key{Kind: contract.KindCommand, Community: "b"}) {
		t.Error("holds another kind or community")
	}
}

// A community that is alone runs as many as its threshold lets start.
func TestAlone(t *testing.T) {
	t.Parallel()
	for _, limit := range []int{0, 1, 3, 500} {
		for workers := 1; workers <= 300; workers++ {
			for _, weight := range []int{1, 2, 3, 4, 8, 100} {
				a := account{weight: weight}
				for a.running < workers && a.threshold(limit, workers) <= workers-a.running {
					a.running++
				}
				if got := a.alone(limit, workers); got != a.running {
					t.Fatalf("of %d workers %d run, alone says %d; weight %d, TENANT_CONCURRENCY %d", workers, a.running, got, weight, limit)
				}
			}
		}
	}
}

// Looks take a bounded part of the time, but whatever one takes, the next one comes soon: a process that stood still for
// two seconds must not let a flood in for the next hundred.
func TestNextCheckForLanes(t *testing.T) {
	t.Parallel()
	for took, want := range map[time.Duration]time.Duration{
		0: laneCheck, time.Microsecond: laneCheck, 5 * time.Millisecond: 250 * time.Millisecond, 2 * time.Second: lanePoll,
	} {
		if got := untilCheck(took); got != want {
			t.Errorf("after a look of %v the next one is in %v, want %v", took, got, want)
		}
	}
}

// While a lane is closing, messages are kept back: if it was left, they are handled next, and if not, they go into it.
func TestKeptWhileALaneCloses(t *testing.T) {
	for _, left := range []bool{true, false} {
		w := &laneWriter{
			admitted: newFairQueue(1, 0), moves: shard.NewMailbox[*laneMove](100), kept: map[*lanes.Lane][]*delivery{},
		}
		lane := new(lanes.Lane)
		var want, got string
		for i := range 5 {
			d := queued("a", i)
			want += d.EventID + " "
			w.keep(d, lane)
		}
		w.decided(lane, left)
		w.decided(lane, left) // nothing is left
		w.moves.Close()
		moves, _ := w.moves.Take(nil)
		for _, m := range moves {
			got += m.d.EventID + " "
		}
		if left {
			for d := w.admitted.tryNext(); d != nil; d = w.admitted.tryNext() {
				got += d.EventID + " "
				w.admitted.done(d, 0)
			}
		}
		if got != want || len(moves) > 0 == left {
			t.Errorf("left %t: %q, %d of them into the lane; want %q", left, got, len(moves), want)
		}
	}
}
