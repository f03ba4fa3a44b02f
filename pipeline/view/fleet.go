package view

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"arrakis/pipeline/contract"
	"arrakis/pipeline/fleet"
)

// Fleet is the state of all workers, of the streams, the lanes and the dead letters at one moment. It is made once for
// all who see it: nobody may change it.
type Fleet struct {
	At time.Time `json:"at"` // by the clock of the process that made it
	// Degraded says in sentences what does not work as it should, the worst first. It is empty if all is well.
	Degraded []string    `json:"degraded"`
	Totals   FleetTotals `json:"totals"`
	// Workers are ordered by host and ID, at most fleet.MaxWorkers. Those that are lost or have stopped are among them
	// until their last heartbeat is a minute old.
	Workers []Worker `json:"workers"`
	Streams []Stream `json:"streams"` // as in Streams
	Lanes   []Lane   `json:"lanes"`   // as in Streams
	// Waiting are the communities of which the most messages wait in all workers, and those that take the most handler
	// time, at most fleet.MaxTop of each. They are ordered by Waiting, then by Busy, the most first.
	Waiting     []WaitingCommunity `json:"waiting"`
	DeadLetters FleetDeadLetters   `json:"dead_letters"`
}

// FleetTotals are sums over the workers that work, and over the streams.
type FleetTotals struct {
	Workers int         `json:"workers"` // that work: neither lost nor stopped
	Ready   int         `json:"ready"`   // those of them that are ready, or degraded
	Rates   fleet.Rates `json:"rates"`   // messages a second
	// Waiting, Running and InProcess are messages in the workers; see fleet.Activity.
	Waiting   int `json:"waiting"`
	Running   int `json:"running"`
	InProcess int `json:"in_process"`
	Handlers  int `json:"handlers"` // how many may run at once
	// Pending are messages in JetStream that were delivered to no worker yet (the lag), Unacked those that were and are
	// not acknowledged, over all consumers; the lanes are not in them.
	Pending uint64 `json:"pending"`
	Unacked int    `json:"unacknowledged"`
	InLanes uint64 `json:"in_lanes"` // messages in lanes
}

// Worker is one worker, as its last heartbeat describes it.
type Worker struct {
	ID       string        `json:"id"`
	Host     string        `json:"host"`
	PID      int           `json:"pid"`
	Version  string        `json:"version"`
	Started  time.Time     `json:"started"`   // by the worker's clock
	UptimeMS int64         `json:"uptime_ms"` // when it sent the heartbeat; right also if its clock is not
	Shards   int           `json:"shards"`
	Handlers int           `json:"handlers"` // that may run at once
	State    fleet.Health  `json:"state"`    // starting, ready, degraded, not_ready, draining, stopped, or lost
	Faults   []fleet.Fault `json:"faults"`   // the checks of /readyz that are not ok
	AgeMS    int64         `json:"age_ms"`   // of the heartbeat
	// The numbers of a worker that is lost or has stopped are those of its last heartbeat.
	Rates     fleet.Rates `json:"rates"`
	Waiting   int         `json:"waiting"`
	Running   int         `json:"running"`
	InProcess int         `json:"in_process"`
}

// WaitingCommunity is what a community does in all workers together.
type WaitingCommunity struct {
	Community string  `json:"community_id"`
	Tier      string  `json:"tier"`    // "" if it is not known
	Waiting   int     `json:"waiting"` // admitted messages that wait for a handler
	Running   int     `json:"running"` // messages that run
	Busy      float64 `json:"busy"`    // handlers that it keeps busy, on average over the last seconds
	Share     float64 `json:"share"`   // of the handler time of all communities that are known to take some, 0 to 1
	// Lanes are the kinds of messages for which the community is in a lane, as in Lane. Empty: it is in none.
	Lanes []string `json:"lanes"`
}

// FleetDeadLetters are the dead letters that are kept.
type FleetDeadLetters struct {
	Messages uint64                     `json:"messages"`
	ByReason map[contract.Reason]uint64 `json:"by_reason"`
	OldestMS int64                      `json:"oldest_ms"` // age of the oldest; 0 without messages
}

// Change is a change of configuration that has reached the process that tells it.
type Change struct {
	Type   string    `json:"type"`             // tenant_config, account_config, global_config, feature_flag or limit_reset
	Target string    `json:"target_id"`        // community or flag; "" for everything
	At     time.Time `json:"at"`               // by the clock of Redis
	Source string    `json:"source,omitempty"` // the process that made the change; "" if it is not known
}

// NewFleet makes the document of a state.
func NewFleet(s *fleet.State) *Fleet {
	document := NewStreams(s.Streams, s.Lanes)
	f := &Fleet{
		At: s.At, Streams: document.Streams, Lanes: document.Lanes, Workers: []Worker{},
		DeadLetters: FleetDeadLetters{
			Messages: s.DeadLetters.Messages, ByReason: map[contract.Reason]uint64{}, OldestMS: s.DeadLetters.Oldest.Milliseconds(),
		},
	}
	maps.Copy(f.DeadLetters.ByReason, s.DeadLetters.ByReason)
	for i := range s.Workers {
		w := &s.Workers[i]
		f.Workers = append(f.Workers, newWorker(w))
		f.Totals.addWorker(w)
	}
	for _, stream := range f.Streams {
		for _, c := range stream.Consumers {
			f.Totals.Pending += c.Pending
			f.Totals.Unacked += c.Unacked
		}
	}
	for i := range f.Lanes {
		f.Totals.InLanes += f.Lanes[i].Messages
	}
	f.Waiting = waiting(s.Workers, f.Lanes)
	f.Degraded = degraded(s, f)
	return f
}

func newWorker(w *fleet.Worker) Worker {
	return Worker{
		ID: w.ID, Host: w.Host, PID: w.PID, Version: w.Version, Started: w.Started, UptimeMS: w.Uptime,
		Shards: w.Shards, Handlers: w.Handlers, State: w.State, Faults: append([]fleet.Fault{}, w.Faults...),
		AgeMS: w.Age.Milliseconds(), Rates: w.Rates, Waiting: w.Waiting, Running: w.Running, InProcess: w.InProcess,
	}
}

// addWorker adds a worker, unless it is gone.
func (t *FleetTotals) addWorker(w *fleet.Worker) {
	if w.Gone() {
		return
	}
	t.Workers++
	if w.State == fleet.Ready || w.State == fleet.Degraded {
		t.Ready++
	}
	t.Rates.Add(w.Rates)
	t.Waiting += w.Waiting
	t.Running += w.Running
	t.InProcess += w.InProcess
	t.Handlers += w.Handlers
}

// waiting merges the communities that workers name, and keeps those of which the most messages wait, and those that take
// the most handler time.
func waiting(workers []fleet.Worker, lanes []Lane) []WaitingCommunity {
	byID := map[string]*WaitingCommunity{}
	busy := 0.0
	for i := range workers {
		if workers[i].Gone() {
			continue
		}
		for _, c := range workers[i].Top {
			w := byID[c.ID]
			if w == nil {
				w = &WaitingCommunity{Community: c.ID, Lanes: []string{}}
				byID[c.ID] = w
			}
			w.Tier = cmp.Or(c.Tier, w.Tier)
			w.Waiting += c.Waiting
			w.Running += c.Running
			w.Busy += c.Busy
			busy += c.Busy
		}
	}
	all := slices.Collect(maps.Values(byID))
	id := func(a, b *WaitingCommunity) int { return cmp.Compare(a.Community, b.Community) }
	slices.SortFunc(all, func(a, b *WaitingCommunity) int { return cmp.Or(cmp.Compare(b.Busy, a.Busy), id(a, b)) })
	most := map[*WaitingCommunity]bool{}
	for _, w := range all[:min(len(all), fleet.MaxTop)] {
		most[w] = true
	}
	slices.SortFunc(all, func(a, b *WaitingCommunity) int {
		return cmp.Or(cmp.Compare(b.Waiting, a.Waiting), cmp.Compare(b.Busy, a.Busy), id(a, b))
	})
	list := []WaitingCommunity{}
	for i, w := range all {
		if i >= fleet.MaxTop && !most[w] {
			continue
		}
		if busy > 0 {
			w.Share = w.Busy / busy
		}
		for j := range lanes {
			if lanes[j].Community == w.Community {
				w.Lanes = append(w.Lanes, lanes[j].Kind)
			}
		}
		list = append(list, *w)
	}
	return list
}
