package main

import (
	"time"

	"arrakis/loadtest/program"
)

// What is promised.
const (
	quickWithin = 100 * time.Millisecond // p99 of the first answer, of quick handlers
	firstWithin = 3 * time.Second        // the longest first answer
)

// targets are those of the load.
func (r *loadResult) targets(o options) []program.Target {
	return []program.Target{
		program.Within("first answer of quick handlers, p99", r.Quick, r.Quick.P99, quickWithin, o.quick),
		program.Within("first answer, the longest", r.All, r.All.Max, firstWithin, false),
		program.None("lost", r.Lost),
		program.None(endingNames[wrong], r.Endings[endingNames[wrong]]),
		program.None("dead letters", r.DeadLetters),
		program.None("workers that ended by themselves", len(r.Crashes)),
		program.None("interactions that could not be started: load that did not happen", r.Dropped),
	}
}

// targets are those of the flood.
func (r *floodResult) targets(o options) []program.Target {
	return []program.Target{
		program.Exactly("flood: answers", r.Answered, freeLimit),
		program.Exactly("flood: ephemeral refusals with the time to try again", r.Refusals, o.flood-freeLimit),
		program.None("flood: calls of the API", r.RESTCalls),
	}
}
