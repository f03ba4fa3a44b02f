package limiter

import (
	"errors"
	"fmt"
	"time"
)

// Unlimited as a [Limit]'s Max admits every message; nothing is recorded.
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

// Validate reports all that is wrong with the limit at once, or nil.
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

// Verdict is the answer to one message that asked for one permit. A rejection is a verdict, not an error.
type Verdict struct {
	// Allowed says that the message holds a permit or needs none.
	Allowed bool
	// Charged says that a permit was newly taken. It is false for an unlimited key and for an ID that
	// already held its permit.
	Charged bool
	// Limit is the limit's Max, -1 for unlimited.
	Limit int64
	// Remaining is the number of free permits after this message, -1 for unlimited.
	Remaining int64
	// ResetAfter is the time until the oldest counted admission leaves the window, 0 when none is counted.
	ResetAfter time.Duration
	// RetryAfter is 0 when the message is allowed, else the time until it could be admitted. With Max 0 it is
	// the window; when Unavailable, the interval at which Redis is probed.
	RetryAfter time.Duration
	// Local says that the message was rejected from the owner's Window, without Redis.
	Local bool
	// Degraded says that the verdict was reached without Redis because Redis, or the key in it, cannot be used.
	Degraded bool
	// Unavailable says that the message was refused only because of that, under the policy Closed.
	Unavailable bool
}

// Usage is what one key has used of its limit.
type Usage struct {
	// Used is the number of permits taken in the window that ends now. It exceeds Limit after a downgrade.
	// It is 0 for an unlimited key, whose messages are not recorded.
	Used int64
	// Limit is the limit's Max, -1 for unlimited.
	Limit int64
	// Remaining is the number of free permits, -1 for unlimited.
	Remaining int64
	// ResetAfter is the time until the oldest counted admission leaves the window, 0 when none is counted.
	ResetAfter time.Duration
	// Degraded says that only this process's own admissions are counted because Redis cannot be used.
	Degraded bool
}

// standing is what is known of one key's window at one moment, from Redis or from memory.
type standing struct {
	count      int64         // counted admissions
	resetAfter time.Duration // until the oldest of them leaves, 0: none
	retryAfter time.Duration // until a permit is free, 0: one is
}

// unlimitedVerdict is the verdict on every message of an unlimited key.
func unlimitedVerdict() Verdict {
	return Verdict{Allowed: true, Limit: Unlimited, Remaining: Unlimited}
}

// noneVerdict is the verdict on every message of a limit that admits none.
func noneVerdict(limit Limit) Verdict {
	return Verdict{RetryAfter: limit.Window}
}

// peek returns what one more message would get.
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
	return Usage{Used: s.count, Limit: limit.Max, Remaining: max(0, limit.Max-s.count), ResetAfter: s.resetAfter}
}
