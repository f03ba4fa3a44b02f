package main

import (
	"context"
	"fmt"
	"slices"
	"time"

	"arrakis/loadtest/program"
	"arrakis/loadtest/testserver/fakediscord"
)

// loadResult is what the load has shown. Its JSON is what --json prints.
type loadResult struct {
	Sent    int           `json:"sent"`
	Dropped int           `json:"dropped_starts"`
	Took    time.Duration `json:"took_ns"`
	Waited  time.Duration `json:"waited_ns"` // for what was open after the load
	Kills   int           `json:"kills"`

	Endings        map[string]int `json:"endings"`
	Broken         int            `json:"connections_broken"`
	BrokenAnswered int            `json:"connections_broken_answered"` // by another worker
	Deferred       int            `json:"deferred"`
	Repeats        int            `json:"handler_repeats"` // runs beyond the first of an interaction
	Lost           int            `json:"lost"`

	Quick program.Latencies `json:"first_answer_quick"` // to the first answer
	All   program.Latencies `json:"first_answer_all"`
	Edits program.Latencies `json:"edited_answer"` // to the answer, of those that were edited

	Refused     int64    `json:"connections_refused"` // the next worker took the request
	Repeated    int64    `json:"requests_repeated"`   // by the load balancer
	Callbacks   int      `json:"rest_callbacks"`
	EditCalls   int      `json:"rest_edits"`
	FollowUps   int      `json:"rest_follow_ups"`
	Rejected    int      `json:"rest_answered_4xx"`
	Limited     int      `json:"rest_answered_429"`
	Invalid     int      `json:"rest_invalid"`
	DeadLetters uint64   `json:"dead_letters"`
	Crashes     []string `json:"crashes,omitempty"`
	Examples    []string `json:"examples,omitempty"` // of what was not answered well
}

// examples is how many examples there are of each ending.
const examples = 3

// count counts the entries of a ledger.
func (r *loadResult) count(l *ledger) {
	l.mu.Lock()
	defer l.mu.Unlock()
	var quickOnes, all, edits []time.Duration
	r.Endings = map[string]int{}
	for _, e := range l.entries {
		end := e.ending()
		r.Endings[endingNames[end]]++
		if end >= lostFrom {
			r.Lost++
		}
		if (end == wrong || end >= lostFrom) && r.Endings[endingNames[end]] <= examples {
			r.Examples = append(r.Examples, endingNames[end]+": "+e.describe())
		}
		if e.broken {
			r.Broken++
			if end < wrong {
				r.BrokenAnswered++
			}
		}
		if e.deferred {
			r.Deferred++
		}
		r.Repeats += max(0, e.runs-1)
		if first := e.first(); first > 0 {
			all = append(all, first)
			if e.class == quick {
				quickOnes = append(quickOnes, first)
			}
		}
		if end == edited {
			edits = append(edits, e.ended.After)
		}
	}
	slices.Sort(r.Examples)
	r.Quick, r.All, r.Edits = program.NewLatencies(quickOnes), program.NewLatencies(all), program.NewLatencies(edits)
}

// judge counts what has happened since the totals before.
func (s *site) judge(ctx context.Context, r *loadResult, before fakediscord.Totals) error {
	r.count(s.ledger)
	t := s.discord.Totals()
	r.Callbacks, r.EditCalls, r.FollowUps = t.Callbacks-before.Callbacks, t.Edits-before.Edits, t.FollowUps-before.FollowUps
	r.Rejected, r.Limited, r.Invalid = t.Refused-before.Refused, t.Limited-before.Limited, t.Invalid-before.Invalid
	r.Refused, r.Repeated = s.balancer.refused.Load(), s.balancer.repeated.Load()
	for _, w := range s.workers {
		r.Crashes = append(r.Crashes, w.Unasked()...)
	}
	stream, err := s.js.Stream(ctx, "DEADLETTER")
	if err != nil {
		return fmt.Errorf("look at the dead letters: %w", err)
	}
	r.DeadLetters = stream.CachedInfo().State.Msgs
	return nil
}
