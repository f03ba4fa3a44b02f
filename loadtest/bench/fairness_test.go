package main

import (
	"context"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"arrakis/loadtest/bench/contender"
	"arrakis/loadtest/bench/workload"
	"arrakis/loadtest/testserver"
)

// Each contender takes a small burst beside the quiet communities, and every quiet message is found in its phase.
func TestFairRun(t *testing.T) {
	testserver.Program(t, "redis-server")
	b := &bench{}
	for _, v := range []fairVariant{{contender.Arrakis, 2}, {contender.Watermill, 1}, {contender.Textbook, 1}} {
		t.Run(v.String(), func(t *testing.T) {
			r, err := b.fairOnce(t.Context(), fairRun{
				contender: v.contender, workers: v.workers, quiet: true, calm: time.Second, takenIn: 10 * time.Second,
				flood: flood{communities: []int{0, 30}, command: workload.Slow, messages: 4_000},
			})
			if err != nil {
				t.Fatal(err)
			}
			// 99 a second, more if the machine is slow.
			if len(r.alone) < 95 || len(r.first) == 0 || len(r.beside) < len(r.first) {
				t.Errorf("%d messages alone, %d in the first moments, %d beside the flood", len(r.alone), len(r.first), len(r.beside))
			}
			if p := percentile(r.alone, 0.5); p <= 0 || r.late > 0 {
				t.Errorf("half of the messages alone took %s, and %d have not ended", p, r.late)
			}
			if r.sent != 4_000 || r.handled < 3_800 || r.rate <= 0 {
				t.Errorf("%d of the flood sent, %d handled, %v a second", r.sent, r.handled, r.rate)
			}
			if len(r.shares) != 2 || r.shares[0]+r.shares[1] < 0.99 || r.shares[0]+r.shares[1] > 1.01 {
				t.Errorf("shares %v", r.shares)
			}
			for _, what := range []string{"workers", "nats-server", "disk"} {
				if r.peaks[what] <= 0 {
					t.Errorf("peaks %v", r.peaks)
				}
			}
		})
	}
}

// A message that is not handled counts with its age, in the phase in which it was due.
func TestLatenciesByPhase(t *testing.T) {
	calm := time.Now().Add(-10 * time.Second)
	began := calm.Add(2 * time.Second)
	w := &fairWatch{calm: calm, began: began, afterFrom: began.Add(4 * time.Second), ended: began.Add(6 * time.Second), calls: map[int64]int64{}}
	var published []*paced
	add := func(at time.Time, took time.Duration) {
		published = append(published, &paced{due: at, stored: min(took, time.Millisecond)})
		if took > 0 {
			w.calls[at.UnixMicro()] = at.Add(took).UnixMicro()
		}
	}
	add(calm.Add(-time.Second), time.Hour) // before anything is measured
	add(calm.Add(time.Second), 3*time.Millisecond)
	add(calm.Add(time.Second+time.Millisecond), time.Millisecond)
	add(began.Add(time.Second), 200*time.Millisecond)
	add(began.Add(3500*time.Millisecond), 400*time.Millisecond) // after the first moments, and not taken in yet
	add(began.Add(5*time.Second), 0)
	add(began.Add(7*time.Second), time.Hour) // too late
	var r fairResult
	w.latencies(published, &r)
	if len(r.alone) != 2 || r.alone[0] != time.Millisecond || r.alone[1] != 3*time.Millisecond {
		t.Errorf("alone: %v", r.alone)
	}
	if len(r.first) != 1 || r.first[0] != 200*time.Millisecond {
		t.Errorf("first: %v", r.first)
	}
	if len(r.after) != 1 || r.after[0] < 3*time.Second || r.late != 1 {
		t.Errorf("after: %v, %d late", r.after, r.late)
	}
	if len(r.beside) != 3 {
		t.Errorf("beside: %v", r.beside)
	}
	if len(r.stored) != 3 || r.stored[1] != time.Millisecond || r.stored[2] != r.after[0] {
		t.Errorf("stored: %v, beside: %v", r.stored, r.beside)
	}
}

func TestDeadLettersAreRefused(t *testing.T) {
	s := setup(t)
	if err := s.prepare(t.Context(), workload.Raised, 1, 0); err != nil {
		t.Fatal(err)
	}
	if err := refuseDeadLetters(context.WithoutCancel(t.Context()), s); err != nil {
		t.Fatal(err)
	}
	if _, err := s.js.PublishMsg(t.Context(), &nats.Msg{Subject: "deadletter.COMMANDS.panic"}); err == nil {
		t.Error("a dead letter was stored")
	}
}
