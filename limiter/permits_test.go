package limiter

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

// TestPermitLogExact compares the log with every admission written down, as long as there are few.
func TestPermitLogExact(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		var log permitLog
		admitted := map[uint64]time.Duration{} // at what time
		now := time.Duration(0)
		for range rapid.IntRange(1, 200).Draw(t, "steps") {
			limit := Limit{Max: rapid.Int64Range(1, 5).Draw(t, "max"), Window: time.Second}
			now += time.Duration(rapid.IntRange(0, 400).Draw(t, "pass")) * time.Millisecond
			id := rapid.Uint64Range(1, 12).Draw(t, "id")
			used := int64(0)
			oldest := now
			for old, at := range admitted {
				if at <= now-limit.Window {
					delete(admitted, old)
					continue
				}
				used++
				oldest = min(oldest, at)
			}
			log.trim(now, limit.Window)
			s := log.standing(limit, 0, now)
			if s.count != used || (used > 0 && s.resetAfter != oldest+limit.Window-now) {
				t.Fatalf("standing %+v, want %d used, the oldest at %v, now %v", s, used, oldest, now)
			}
			if (s.retryAfter > 0) != (used >= limit.Max) {
				t.Fatalf("standing %+v of a limit of %d", s, limit.Max)
			}
			_, held := admitted[id]
			if log.holds(id) != held {
				t.Fatalf("holds(%d) is %t, want %t", id, log.holds(id), held)
			}
			switch {
			case held && rapid.Bool().Draw(t, "release"):
				if !log.remove(id) {
					t.Fatalf("remove(%d) does not find it", id)
				}
				delete(admitted, id)
			case !held && used < limit.Max:
				log.add(id, now, limit.Window)
				admitted[id] = now
			}
		}
	})
}

// TestPermitLogCoarse checks the promise for more than exactPermits: never below the true count, and never counting
// what left more than 1 % of the window ago.
func TestPermitLogCoarse(t *testing.T) {
	t.Parallel()
	const window = time.Minute
	var log permitLog
	var times []time.Duration // of all admissions
	within := func(now, window time.Duration) (n int64) {
		for i := len(times) - 1; i >= 0 && times[i] > now-window; i-- {
			n++
		}
		return n
	}
	now := time.Duration(0)
	for i := range 60_000 {
		now += time.Duration(1+i%5) * time.Millisecond
		log.trim(now, window)
		log.add(uint64(i), now, window)
		times = append(times, now)
		if i%97 != 0 {
			continue
		}
		got, least, most := log.count(), within(now, window), within(now, window+window/subWindows)
		if got < least || got > most {
			t.Fatalf("after %d: count %d, want %d to %d", i, got, least, most)
		}
	}
	if log.summed == 0 || len(log.sums) > subWindows+1 {
		t.Errorf("%d permits summed in %d parts, want some in at most %d", log.summed, len(log.sums), subWindows+1)
	}
	if !log.holds(59_999) || log.holds(0) {
		t.Error("the newest permit is not recognised, or one that has left is")
	}
	limit := Limit{Max: log.count(), Window: window}
	s := log.standing(limit, 0, now)
	if s.retryAfter <= 0 || s.retryAfter != s.resetAfter || s.retryAfter > window {
		t.Errorf("standing %+v of a full window", s)
	}
	log.trim(now+s.retryAfter, window)
	if log.count() >= limit.Max {
		t.Error("no permit is free after RetryAfter")
	}
	log.trim(now+2*window, window)
	if log.count() != 0 {
		t.Errorf("count %d after two windows, want 0", log.count())
	}
}

func TestPermitLogLateArrival(t *testing.T) {
	t.Parallel()
	var log permitLog
	log.add(1, 10*time.Second, time.Minute)
	log.add(2, 9*time.Second, time.Minute) // read its clock before, came later
	log.trim(69*time.Second+time.Second/2, time.Minute)
	if log.count() != 2 {
		t.Errorf("count %d, want 2: a late arrival counts as late as the newest", log.count())
	}
}
