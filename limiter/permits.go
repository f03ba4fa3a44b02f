package limiter

import (
	"slices"
	"sort"
	"time"
)

const (
	// exactPermits is how many permits of one key are kept one by one in memory.
	exactPermits = 10_000
	// subWindows is how many parts a window is cut into for older permits.
	subWindows = 100
)

// permit is one admission: a 64-bit hash of its event ID and its time on the process's monotonic clock.
type permit struct {
	id uint64
	at time.Duration
}

// permitSum counts the admissions of one sub-window. All of them count until the end of the sub-window leaves the
// window.
type permitSum struct {
	at time.Duration
	n  int64
}

// permitLog is one key's sliding window log in memory (Figma's "sliding window log"; older admissions are counted in
// fixed sub-windows, as in Cloudflare's counters, and as subwindows.lua does for large limits). It is pure: now is an
// argument, and need not grow from call to call.
//
// The newest exactPermits admissions are exact. Older admissions are summed in sub-windows of 1/subWindows of the
// window and leave with the end of their sub-window. So the log errs only toward rejecting, and by at most 1 % of the
// window. An ID is recognised only while its admission is exact.
type permitLog struct {
	exact  []permit    // by time, oldest first
	sums   []permitSum // by time, oldest first; all older than exact
	summed int64       // total of sums
}

// trim drops the admissions that have left the window (now-window, now].
func (g *permitLog) trim(now, window time.Duration) {
	cut := now - window
	i := 0
	for ; i < len(g.sums) && g.sums[i].at <= cut; i++ {
		g.summed -= g.sums[i].n
	}
	g.sums = slices.Delete(g.sums, 0, i)
	g.exact = g.exact[sort.Search(len(g.exact), func(i int) bool { return g.exact[i].at > cut }):]
	if len(g.exact) == 0 {
		g.exact = nil // free its memory
	}
}

// count returns the number of counted admissions.
func (g *permitLog) count() int64 { return g.summed + int64(len(g.exact)) }

// holds reports whether the ID is known to hold a permit.
func (g *permitLog) holds(id uint64) bool {
	for i := len(g.exact) - 1; i >= 0; i-- {
		if g.exact[i].id == id {
			return true
		}
	}
	return false
}

// add records an admission. An admission that is older than the newest recorded one gets the time of that one.
func (g *permitLog) add(id uint64, now, window time.Duration) {
	if n := len(g.exact); n > 0 {
		now = max(now, g.exact[n-1].at)
	}
	g.exact = append(g.exact, permit{id: id, at: now})
	if len(g.exact) <= exactPermits {
		return
	}
	width := window / subWindows
	end := (g.exact[0].at + width - 1) / width * width
	g.exact = g.exact[1:]
	g.summed++
	if n := len(g.sums); n > 0 && g.sums[n-1].at >= end {
		g.sums[n-1].n++
		return
	}
	g.sums = append(g.sums, permitSum{at: end, n: 1})
}

// remove releases the ID's permit. It reports false when the ID has no exact admission.
func (g *permitLog) remove(id uint64) bool {
	i := slices.IndexFunc(g.exact, func(p permit) bool { return p.id == id })
	if i < 0 {
		return false
	}
	g.exact = slices.Delete(g.exact, i, i+1)
	return true
}

// standing returns the window's state at now, when the boost of the limit still lasts for boostLeft. The caller must have
// trimmed the log to the same now and window.
func (g *permitLog) standing(limit Limit, boostLeft, now time.Duration) standing {
	s := standing{count: g.count(), limit: limit.inForce(boostLeft), boostLeft: boostLeft}
	if s.count > 0 {
		s.resetAfter = g.at(0) + limit.Window - now
	}
	permits := s.limit
	s.retryAfter = g.retryAfter(permits, limit.Window, now)
	if boostLeft > 0 && s.retryAfter >= boostLeft {
		permits = limit.Max
		s.retryAfter = g.retryAfter(permits, limit.Window, now)
	}
	s.never = permits == 0
	return s
}

// retryAfter returns the time until one of maxPermits permits is free, 0 if one is free, and the window if none will be.
func (g *permitLog) retryAfter(maxPermits int64, window, now time.Duration) time.Duration {
	switch count := g.count(); {
	case count < maxPermits:
		return 0
	case maxPermits == 0:
		return window
	default:
		return g.at(count-maxPermits) + window - now
	}
}

// at returns the time of the admission with the given rank. Rank 0 is the oldest.
func (g *permitLog) at(rank int64) time.Duration {
	for _, s := range g.sums {
		if rank < s.n {
			return s.at
		}
		rank -= s.n
	}
	return g.exact[rank].at
}
