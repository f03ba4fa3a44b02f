package limiter

import "time"

// replySlack is subtracted from every local block. Redis counts whole milliseconds, so n ms in its reply may be up to 1
// ms less.
const replySlack = time.Millisecond

// Window is the local state of one key. It knows until when the key is full. It is owned by one goroutine and has no
// lock. It takes 104 bytes and the bytes of its key.
type Window struct {
	key          string
	limit        Limit         // limit for which blockedUntil was computed
	blockedUntil time.Time     // zero: nothing is known; has a monotonic clock reading
	reset        time.Duration // when the oldest counted admission leaves the window, from blockedUntil on
	boostEnd     time.Duration // when the boost ends, from blockedUntil on, if the limit has one
	late         time.Duration // length of the round trip that returned these times: they may be early by up to late
	call         *call         // the key's script call in the batch being built, nil outside AllowBatch
}

// NewWindow returns a Window that knows nothing yet. The key is given without the limiter's prefix, for example
// "comm_007:command".
func NewWindow(key string) *Window { return &Window{key: key} }

// Key returns the key that NewWindow was given.
func (w *Window) Key() string { return w.key }

// Forget clears the Window, so that the next message asks Redis. Its owner calls it after a reset or a release of the
// key.
func (w *Window) Forget() {
	*w = Window{key: w.key, call: w.call}
}

// Reject reports whether a message is known to be over the limit at now, and returns its verdict. It is pure: no I/O,
// no clock, no allocation. It reports false for a limit other than the one Redis last answered for. The caller must not
// call it for a redelivered or replayed message, which may hold its permit already.
func (w *Window) Reject(limit Limit, now time.Time) (Verdict, bool) {
	if limit != w.limit || !now.Before(w.blockedUntil) {
		return Verdict{}, false
	}
	// The block must not end too late. The times in the verdict must not end too early, because a caller that waits
	// that long is to find a free permit.
	left := w.blockedUntil.Sub(now)
	v := Verdict{Limit: limit.Max, Local: true, RetryAfter: min(left+replySlack+w.late, limit.longest())}
	if limit.Boost > 0 {
		v.Limit = limit.inForce(left + w.boostEnd)
	}
	v.ResetAfter = min(left+w.reset+w.late, limit.longest())
	if v.ResetAfter <= 0 {
		v.ResetAfter = v.RetryAfter
	}
	return v, true
}

// learn stores Redis's answer to a request that was sent and answered at the given times. The block is counted from the
// time of sending, so it ends no later than the block in Redis, whatever the two clocks show. It lasts no longer than
// an admission counts, so that Redis is asked again even if its clock was set back. A boost that is in force may end
// meanwhile; the key stays full then, because the limit without it is lower.
func (w *Window) learn(limit Limit, s standing, sent, received time.Time) {
	if s.count < s.limit {
		w.Forget()
		return
	}
	block := min(s.retryAfter, limit.longest()) - replySlack
	w.limit, w.blockedUntil, w.late = limit, sent.Add(block), received.Sub(sent)
	w.reset = min(s.resetAfter, limit.longest()) - block
	w.boostEnd = s.boostLeft - block
}
