package limiter

import (
	"errors"
	"fmt"
	"math"
	"time"
)

// Unlimited is the Max of a [Limit] that admits every message and records none.
const Unlimited = -1

// The range of a limit's window.
const (
	minWindow = time.Second
	maxWindow = 24 * time.Hour
)

// maxBoost bounds the numbers of a boost: scripts count with 53 bits.
const maxBoost = 1 << 50

// Limit is how many permits a key has in any window of the given length.
type Limit struct {
	// Max is the number of permits in a window: Unlimited (-1) admits all, 0 admits none.
	Max int64
	// Window is the length of the sliding window, 1 s to 24 h in whole milliseconds.
	Window time.Duration
	// Boost is how many permits there are on top of Max before BoostUntil, 0 or more. Unlimited has no boost.
	Boost int64
	// BoostUntil is when the boost ends, in unix ms by the clock of Redis.
	BoostUntil int64
}

// Validate reports all faults of the limit at once.
func (l Limit) Validate() error {
	var errs []error
	if l.Max < Unlimited {
		errs = append(errs, fmt.Errorf("max %d is below -1 (unlimited)", l.Max))
	}
	if l.Window < minWindow || l.Window > maxWindow {
		errs = append(errs, fmt.Errorf("window %v is not between %v and %v", l.Window, minWindow, maxWindow))
	}
	if l.Window%time.Millisecond != 0 {
		errs = append(errs, fmt.Errorf("window %v is not in whole milliseconds", l.Window))
	}
	if l.Boost < 0 || l.Boost > maxBoost {
		errs = append(errs, fmt.Errorf("boost %d is not between 0 and 2^50", l.Boost))
	}
	if l.BoostUntil < 0 || l.BoostUntil > maxBoost {
		errs = append(errs, fmt.Errorf("end of the boost %d is not between 0 and 2^50", l.BoostUntil))
	}
	return errors.Join(errs...)
}

// none reports whether the limit admits nothing, with and without its boost.
func (l Limit) none() bool { return l.Max == 0 && l.Boost == 0 }

// highest returns the number of permits with the boost, whether it has ended or not.
func (l Limit) highest() int64 { return l.Max + l.Boost }

// inForce returns the number of permits while the boost lasts for another time, and after that, if left is not above 0.
func (l Limit) inForce(left time.Duration) int64 {
	if left > 0 {
		return l.highest()
	}
	return l.Max
}

// boostLeft returns for how long the boost still lasts when the clock of Redis shows now, in unix ms. It is 0 if there is
// none.
func (l Limit) boostLeft(now int64) time.Duration {
	if l.Boost == 0 || l.BoostUntil <= now {
		return 0
	}
	return time.Duration(min(l.BoostUntil-now, int64(math.MaxInt64/time.Millisecond))) * time.Millisecond
}

// longest returns the longest time for which one admission counts.
func (l Limit) longest() time.Duration {
	if l.highest() > maxLog {
		return l.Window + l.Window/subWindows
	}
	return l.Window
}

// Verdict is the answer to one message that asked for one permit. A rejection is a verdict, not an error.
type Verdict struct {
	// Allowed says that the message holds a permit or needs none.
	Allowed bool
	// Charged says that the message took a new permit. It is false for an unlimited key and for an ID that already held
	// its permit.
	Charged bool
	// Limit is the number of permits that was in force: the limit's Max, with the boost while it lasts, and -1 for
	// unlimited.
	Limit int64
	// Remaining is the number of free permits after this message, -1 for unlimited.
	Remaining int64
	// ResetAfter is the time until the oldest counted admission leaves the window, 0 when none is counted.
	ResetAfter time.Duration
	// RetryAfter is the time until the message could be admitted, 0 if it is allowed. A boost that ends before does not
	// count. RetryAfter is the window if no permit will be free, because Max is 0, and the interval between probes of
	// Redis if Unavailable is true.
	RetryAfter time.Duration
	// Local says that the message was rejected from the owner's Window, without Redis.
	Local bool
	// Degraded says that the verdict was reached without Redis, because Redis or the key cannot be used.
	Degraded bool
	// Unavailable says that the message was refused only because Redis or the key cannot be used, under the policy
	// Closed.
	Unavailable bool
}

// Usage says how many permits of its limit one key has used.
type Usage struct {
	// Used is the number of permits taken in the window that ends now. It exceeds Limit after a downgrade. It is 0 for
	// an unlimited key, whose messages are not recorded.
	Used int64
	// Limit is the number of permits that is in force: the limit's Max and the Boost, -1 for unlimited.
	Limit int64
	// Boost is the limit's boost, 0 if it has ended, and BoostLeft for how long it still lasts.
	Boost     int64
	BoostLeft time.Duration
	// Remaining is the number of free permits, -1 for unlimited.
	Remaining int64
	// ResetAfter is the time until the oldest counted admission leaves the window, 0 when none is counted.
	ResetAfter time.Duration
	// Delayed is the number of permits that are reserved for later.
	Delayed int64
	// Degraded says that only this process's own admissions are counted because Redis cannot be used.
	Degraded bool
}

// standing is the state of one key's window at one moment, from Redis or from memory.
type standing struct {
	count      int64         // counted admissions and reservations
	reserved   int64         // of the count: reservations whose time has not come, if peek.lua says it
	ahead      int64         // of these: those that leave room for others, if peek.lua says it
	limit      int64         // permits of the limit that is in force
	boostLeft  time.Duration // for how long the boost in it lasts; 0: there is none
	resetAfter time.Duration // until the oldest counted admission leaves; 0: none is counted
	retryAfter time.Duration // until a permit is free; 0: a permit is free now. The window if none will be free
	never      bool          // no permit will be free
}

// unlimitedVerdict is the verdict on every message of an unlimited key.
func unlimitedVerdict() Verdict {
	return Verdict{Allowed: true, Limit: Unlimited, Remaining: Unlimited}
}

// noneVerdict is the verdict on every message of a limit that admits nothing.
func noneVerdict(limit Limit) Verdict {
	return Verdict{RetryAfter: limit.Window}
}

// taken is how many permits one more message finds taken. As allow.lua does, it looks for reservations that leave room only
// if the limit is used up.
func (s standing) taken() int64 {
	if s.count < s.limit {
		return s.count
	}
	return s.count - s.ahead
}

// peek returns the verdict that one more message would get.
func (s standing) peek(limit Limit) Verdict {
	v := Verdict{
		Allowed:    s.taken() < s.limit,
		Charged:    s.taken() < s.limit,
		Limit:      s.limit,
		Remaining:  max(0, s.limit-s.taken()-1),
		ResetAfter: s.resetAfter,
	}
	switch {
	case !v.Allowed:
		v.RetryAfter = s.retryAfter
	case s.count == 0:
		v.ResetAfter = limit.Window
	}
	return v
}

// usage returns the standing as a Usage.
func (s standing) usage(limit Limit) Usage {
	return Usage{
		Used: s.count - s.reserved, Limit: s.limit, Boost: s.limit - limit.Max, BoostLeft: s.boostLeft,
		Remaining: max(0, s.limit-s.taken()), ResetAfter: s.resetAfter, Delayed: s.reserved,
	}
}
