package audit

import (
	"fmt"
	"maps"
	"slices"
)

// Limit is how many admissions of one key any window may hold.
type Limit struct {
	Max    int
	Window int64 // ms
}

// Windows is what the admissions show.
type Windows struct {
	Keys       int // limits with at least one admission
	Admissions int
	Reserved   int    // of the admissions: permits that were reserved for later
	Fullest    string // the window that was fullest, for its limit
	Over       int    // admissions above their limit
	Excused    int    // admissions above their limit for which the policy is the reason
	Worst      []string
}

// Exceeded counts the admissions above their limits: those for which the window that ends with them, (t-W, t], holds
// more than the limit. A permit that was given back does not count, unless counted says that a handler has run for its
// message all the same. With excused, admissions at such times are counted apart. A key without a limit is an error.
func Exceeded(admissions []Admission, limits map[string]Limit, counted func(id string) bool, excused func(at int64) bool) (Windows, error) {
	times := map[string][]int64{}
	w := Windows{}
	for _, a := range admissions {
		if a.Released && !counted(a.ID) {
			continue
		}
		times[a.Key] = append(times[a.Key], a.At)
		w.Admissions++
		if a.Reserved {
			w.Reserved++
		}
	}
	w.Keys = len(times)
	fullest := -1.0
	for _, key := range slices.Sorted(maps.Keys(times)) {
		limit, known := limits[key]
		if !known {
			return w, fmt.Errorf("admissions of %s, which has no limit", key)
		}
		slices.Sort(times[key])
		peak, over, allowed := exceeded(times[key], limit, excused)
		w.Over += over
		w.Excused += allowed
		if share := float64(peak) / float64(max(1, limit.Max)); share > fullest {
			fullest, w.Fullest = share, fmt.Sprintf("%d of %d", peak, limit.Max)
		}
		if over > 0 {
			w.Worst = append(w.Worst, fmt.Sprintf("%s: %d of %d in a window, %d admissions above it", key, peak, limit.Max, over))
		}
	}
	return w, nil
}

// exceeded looks at every window of one key that ends with an admission: no other window can be fuller.
func exceeded(times []int64, limit Limit, excused func(int64) bool) (peak, over, allowed int) {
	first := 0 // of the window
	for last, at := range times {
		for times[first] <= at-limit.Window {
			first++
		}
		n := last - first + 1
		peak = max(peak, n)
		switch {
		case n <= limit.Max:
		case excused != nil && excused(at):
			allowed++
		default:
			over++
		}
	}
	return peak, over, allowed
}

// Run is the first run of a message's handler.
type Run struct {
	Key     string // of the message's limit
	Written int64  // how long the append-only file was when the handler began
}

// Unpermitted returns the IDs of messages for which a handler has run though Redis had not admitted them yet. Redis
// answers after it has written, so what a run waited for is in the part of the file that was there when it began. No
// clock is asked. runs is by ID.
func Unpermitted(runs map[string]Run, admissions []Admission) []string {
	without := maps.Clone(runs)
	for _, a := range admissions {
		if run := runs[a.ID]; run.Key == a.Key && a.Offset < run.Written {
			delete(without, a.ID)
		}
	}
	return slices.Sorted(maps.Keys(without))
}
