package view_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"arrakis/pipeline/contract"
	"arrakis/pipeline/fleet"
	"arrakis/pipeline/lanes"
	"arrakis/pipeline/streams"
	"arrakis/pipeline/view"
)

func worker(id string, state fleet.Health, a fleet.Activity, faults ...fleet.Fault) fleet.Worker {
	return fleet.Worker{Heartbeat: &fleet.Heartbeat{ID: id, Host: id, State: state, Handlers: 10, Faults: faults, Activity: a}, Age: time.Second}
}

// Workers that work are added up, communities are merged over them, and what is lost or has stopped does not count.
func TestFleetAddsUp(t *testing.T) {
	top := func(waiting int, busy float64) []fleet.Community {
		return []fleet.Community{{ID: "hog", Tier: "pro", Waiting: waiting, Running: 1, Busy: busy}}
	}
	f := view.NewFleet(&fleet.State{
		Workers: []fleet.Worker{
			worker("a", fleet.Ready, fleet.Activity{Rates: fleet.Rates{In: 3}, Waiting: 5, Running: 1, InProcess: 6, Top: top(5, 1)}),
			worker("b", fleet.Degraded, fleet.Activity{Rates: fleet.Rates{In: 4}, Waiting: 7, Top: append(top(7, 2), fleet.Community{ID: "quiet", Busy: 1})}),
			worker("c", fleet.Draining, fleet.Activity{}),
			worker("d", fleet.Lost, fleet.Activity{Rates: fleet.Rates{In: 100}, Waiting: 100, Top: top(100, 100)}),
			worker("e", fleet.Stopped, fleet.Activity{Rates: fleet.Rates{In: 100}, Waiting: 100, Top: top(100, 100)}),
		},
		Streams: []streams.Status{{Stream: contract.StreamDeadLetter, Exists: true, Consumers: []streams.ConsumerStatus{{Pending: 2, Unacked: 3}, {Pending: 5}}}},
		Lanes:   []lanes.Status{{Key: lanes.Key{Community: "hog", Kind: contract.KindSync}, Messages: 9}},
	})
	want := view.FleetTotals{
		Workers: 3, Ready: 2, Rates: fleet.Rates{In: 7}, Waiting: 12, Running: 1, InProcess: 6, Handlers: 30, Pending: 7, Unacked: 3, InLanes: 9,
	}
	if diff := cmp.Diff(want, f.Totals); diff != "" {
		t.Errorf("totals (-want +got)\n%s", diff)
	}
	waiting := []view.WaitingCommunity{
		{Community: "hog", Tier: "pro", Waiting: 12, Running: 2, Busy: 3, Share: 0.75, Lanes: []string{"sync"}},
		{Community: "quiet", Busy: 1, Share: 0.25, Lanes: []string{}},
	}
	if diff := cmp.Diff(waiting, f.Waiting); diff != "" {
		t.Errorf("waiting (-want +got)\n%s", diff)
	}
	if len(f.Workers) != 5 || f.Workers[3].State != fleet.Lost || f.Workers[3].Rates.In != 100 {
		t.Errorf("workers %+v", f.Workers)
	}
}

// The largest fleet makes a bounded document in a bounded time; what workers say alike is one sentence.
func TestFleetIsBounded(t *testing.T) {
	s := &fleet.State{More: true, Faults: []string{"a fault"}}
	for i := range fleet.MaxWorkers {
		var a fleet.Activity
		for j := range 2 * fleet.MaxTop {
			a.Top = append(a.Top, fleet.Community{ID: fmt.Sprint("c", i, "_", j), Waiting: i, Busy: float64(j)})
		}
		s.Workers = append(s.Workers, worker(fmt.Sprintf("w%04d", i), fleet.NotReady, a,
			fleet.NewFault("redis", "degraded", "Redis does not answer"), fleet.NewFault("consumers", "failed", fmt.Sprint("fault ", i%100))))
	}
	f := view.NewFleet(s)
	if n := len(f.Waiting); n < fleet.MaxTop || n > 2*fleet.MaxTop || f.Waiting[0].Waiting != fleet.MaxWorkers-1 {
		t.Errorf("%d communities, first %+v", n, f.Waiting[0])
	}
	if len(f.Degraded) != 21 || f.Degraded[0] != "a fault" || !strings.HasPrefix(f.Degraded[1], "10 workers (w0000 and others): not ready: consumers: fault 0") ||
		!strings.HasPrefix(f.Degraded[20], "and ") {
		t.Errorf("%d sentences: %q", len(f.Degraded), f.Degraded)
	}
}

// What is wrong with streams is said, and nothing is said of those that are well.
func TestDegradedStreams(t *testing.T) {
	zero := uint64(0)
	f := view.NewFleet(&fleet.State{
		Workers: []fleet.Worker{worker("a", fleet.Ready, fleet.Activity{})},
		Streams: []streams.Status{
			{Stream: contract.StreamCommands, Exists: true, Bytes: 95, MaxBytes: 100, Dropped: &zero, Consumers: []streams.ConsumerStatus{{Consumer: "command-worker", Fault: "does not exist"}}},
			{Stream: contract.StreamEvents, Exists: true, Bytes: 100, MaxBytes: 100},
			{Stream: contract.StreamEligibility},
		},
	})
	want := []string{
		"consumer command-worker: does not exist",
		"stream COMMANDS has 95 % of its bytes: when it is full, it refuses new messages",
		"stream ELIGIBILITY does not exist",
		"Redis does not answer who asks: what was dropped unread, and whose lane is empty, is not known",
	}
	if diff := cmp.Diff(want, f.Degraded); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func BenchmarkNewFleet(b *testing.B) {
	s := &fleet.State{}
	for i := range fleet.MaxWorkers {
		var a fleet.Activity
		for j := range 2 * fleet.MaxTop {
			a.Top = append(a.Top, fleet.Community{ID: fmt.Sprint("c", (i*7+j)%5000), Waiting: i, Busy: float64(j)})
		}
		s.Workers = append(s.Workers, worker(fmt.Sprintf("w%04d", i), fleet.Ready, a))
	}
	for b.Loop() {
		view.NewFleet(s)
	}
}
