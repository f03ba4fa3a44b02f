package limiter

import (
	"errors"
	"fmt"
	"time"
)

// Unlimited is the Max of a [Limit] that admits every message and records none.
const Unlimited = -1

// The range of a limit's window.
const (
	minWindow = time.Second
	maxWindow = 24 * time.Hour
)

// Limit is how many permits a key has in any window of the given length.
type Limit struct {
	// Max is the number of permits in a window: Unlimited (-1) admits all, 0 admits none.
	Max int64
	// Window is the length of the sliding window, 1 s to 24 h in whole milliseconds.
	Window time.Duration
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
	return errors.Join(errs...)
}

// longest returns the longest time for which one admission counts.
func (l Limit) longest() time.Duration {
	if l.Max > maxLog {
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
	// Limit is the limit's Max, -1 for unlimited.
	Limit int64
	// Remaining is the number of free permits after this message, -1 for unlimited.
	Remaining int64
	// ResetAfter is the time until the oldest counted admission leaves the window, 0 when none is counted.
	ResetAfter time.Duration
	// RetryAfter is the time until the message could be admitted, 0 if it is allowed. It is the window if Max is 0, and
	// the interval between probes of Redis if Unavailable is true.
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
	// Limit is the limit's Max, -1 for unlimited.
	Limit int64
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
	resetAfter time.Duration // until the oldest counted admission leaves; 0: none is counted
	retryAfter time.Duration // until a permit is free; 0: a permit is free now
}

// unlimitedVerdict is the verdict on every message of an unlimited key.
func unlimitedVerdict() Verdict {
	return Verdict{Allowed: true, Limit: Unlimited, Remaining: Unlimited}
}

// noneVerdict is the verdict on every message of a limit with Max 0.
func noneVerdict(limit Limit) Verdict {
	return Verdict{RetryAfter: limit.Window}
}

// peek returns the verdict that one more message would get.
func (s standing) peek(limit Limit) Verdict {
	v := Verdict{
		Allowed:    s.count < limit.Max,
		Charged:    s.count < limit.Max,
		Limit:      limit.Max,
		Remaining:  max(0, limit.Max-s.count-1),
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
		Used: s.count - s.reserved, Limit: limit.Max, Remaining: max(0, limit.Max-s.count), ResetAfter: s.resetAfter, Delayed: s.reserved,
	}
}
