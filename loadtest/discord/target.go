package main

import (
	"fmt"
	"time"
)

// What is promised.
const (
	quickWithin = 100 * time.Millisecond // p99 of the first answer, of quick handlers
	firstWithin = 3 * time.Second        // the longest first answer
)

// target is a promise, and what became of it.
type target struct {
	Name string `json:"target"`
	Want string `json:"want"`
	Got  string `json:"got"`
	Met  bool   `json:"met"`
	// Unjudged says that the run is too short to tell, so that it does not fail.
	Unjudged bool `json:"unjudged,omitempty"`
}

// result says what became of it.
func (t *target) result() string {
	switch {
	case t.Met:
		return "met"
	case t.Unjudged:
		return "not judged"
	default:
		return "missed"
	}
}

// none is the target that something has not happened.
func none[N int | int64 | uint64](name string, n N) target {
	return target{Name: name, Want: "0", Got: fmt.Sprint(n), Met: n == 0}
}

// exactly is the target of a number.
func exactly(name string, got, want int) target {
	return target{Name: name, Want: fmt.Sprint(want), Got: fmt.Sprint(got), Met: got == want}
}

// within is the target of a duration. Nothing measured misses it.
func within(name string, l latencies, got, most time.Duration, unjudged bool) target {
	return target{
		Name: name, Want: "<= " + milliseconds(most), Got: milliseconds(got), Met: l.Count > 0 && got <= most,
		Unjudged: unjudged && l.Count > 0,
	}
}

// targets are those of the load.
func (r *loadResult) targets(o options) []target {
	return []target{
		within("first answer of quick handlers, p99", r.Quick, r.Quick.P99, quickWithin, o.quick),
		within("first answer, the longest", r.All, r.All.Max, firstWithin, false),
		none("lost", r.Lost),
		none(endingNames[wrong], r.Endings[endingNames[wrong]]),
		none("dead letters", r.DeadLetters),
		none("workers that ended by themselves", len(r.Crashes)),
		none("interactions that could not be started: load that did not happen", r.Dropped),
	}
}

// targets are those of the flood.
func (r *floodResult) targets(o options) []target {
	return []target{
		exactly("flood: answers", r.Answered, freeLimit),
		exactly("flood: ephemeral refusals with the time to try again", r.Refusals, o.flood-freeLimit),
		none("flood: calls of the API", r.RESTCalls),
	}
}

func milliseconds(d time.Duration) string {
	return fmt.Sprintf("%.1f ms", float64(d)/float64(time.Millisecond))
}
