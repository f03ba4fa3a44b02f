package program

import (
	"fmt"
	"slices"
	"time"
)

// Target is a promise, and what became of it.
type Target struct {
	Name string `json:"target"`
	Want string `json:"want"`
	Got  string `json:"got"`
	Met  bool   `json:"met"`
	// Unjudged says that the run is too short to tell, so that it does not fail.
	Unjudged bool `json:"unjudged,omitempty"`
}

// Result says what became of it.
func (t *Target) Result() string {
	switch {
	case t.Met:
		return "met"
	case t.Unjudged:
		return "not judged"
	default:
		return "missed"
	}
}

// None is the target that something has not happened.
func None[N int | int64 | uint64](name string, n N) Target {
	return Target{Name: name, Want: "0", Got: fmt.Sprint(n), Met: n == 0}
}

// Exactly is the target of a number.
func Exactly(name string, got, want int) Target {
	return Target{Name: name, Want: fmt.Sprint(want), Got: fmt.Sprint(got), Met: got == want}
}

// Within is the target of a duration. Nothing measured misses it.
func Within(name string, l Latencies, got, most time.Duration, unjudged bool) Target {
	return Target{
		Name: name, Want: "<= " + Milliseconds(most), Got: Milliseconds(got), Met: l.Count > 0 && got <= most,
		Unjudged: unjudged && l.Count > 0,
	}
}

// Latencies are what is told of many durations.
type Latencies struct {
	Count int           `json:"count"`
	P50   time.Duration `json:"p50_ns"`
	P99   time.Duration `json:"p99_ns"`
	Max   time.Duration `json:"max_ns"`
}

// NewLatencies sorts all.
func NewLatencies(all []time.Duration) Latencies {
	if len(all) == 0 {
		return Latencies{}
	}
	slices.Sort(all)
	at := func(share float64) time.Duration { return all[min(int(share*float64(len(all))), len(all)-1)] }
	return Latencies{len(all), at(0.5), at(0.99), all[len(all)-1]}
}

// Row is a row of a table.
func (l Latencies) Row(name string) []string {
	return []string{name, fmt.Sprint(l.Count), Milliseconds(l.P50), Milliseconds(l.P99), Milliseconds(l.Max)}
}

// Milliseconds writes a duration in ms.
func Milliseconds(d time.Duration) string {
	return fmt.Sprintf("%.1f ms", float64(d)/float64(time.Millisecond))
}
