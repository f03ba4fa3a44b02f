package limiter

import "time"

// replySlack is subtracted from every local block: Redis counts whole milliseconds, so what it calls n ms may be
// over up to 1 ms sooner.
const replySlack = time.Millisecond

// Window is the local state of one key: until when Redis is known to be full. It is owned by one goroutine and has no
// lock. It takes 104 bytes beside the bytes of its key.
type Window struct {
	key          string
	limit        Limit         // what blockedUntil was computed for
	blockedUntil time.Time     // zero: nothing known; carries the monotonic clock
	resetAt      time.Time     // when the oldest counted admission leaves
	late         time.Duration // length of the round trip that told both times: either may be early by up to that
	call         *call         // the key's script call in the batch being built, nil outside AllowBatch
}

// NewWindow returns a Window that knows nothing yet. The key is given without the limiter's prefix, for example
// "comm_007:command".
func NewWindow(key string) *Window { return &Window{key: key} }

// Key returns the key that NewWindow was given.
func (w *Window) Key() string { return w.key }

// Forget drops what the Window knows, so that the next message asks Redis. Its owner calls it after a reset or a
// release of the key.
func (w *Window) Forget() {
	w.limit, w.blockedUntil, w.resetAt, w.late = Limit{}, time.Time{}, time.Time{}, 0
}

// Reject reports whether a message is known to be over the limit at now, and if so its verdict. It is pure: no I/O, no
// clock, no allocation. It is false for a limit other than the one Redis last answered for. The caller must not ask it
// about a redelivered or replayed message, which may hold its permit already.
func (w *Window) Reject(limit Limit, now time.Time) (Verdict, bool) {
	if limit != w.limit || !now.Before(w.blockedUntil) {
		return Verdict{}, false
	}
	// The block must not end too late. The times in the verdict must not end too early: a caller that waits as told is to
	// find a permit.
	v := Verdict{Limit: limit.Max, Local: true, RetryAfter: min(w.blockedUntil.Sub(now)+replySlack+w.late, limit.Window)}
	v.ResetAfter = min(w.resetAt.Sub(now)+w.late, limit.Window)
	if v.ResetAfter <= 0 {
		v.ResetAfter = v.RetryAfter
	}
	return v, true
}

// learn remembers Redis's answer to a request that was sent and answered at the given times. The block is counted from the
// sending, so it ends no later than Redis's own, whatever the two clocks say. It lasts one window at most, so that Redis
// is asked again even if its clock was stepped back.
func (w *Window) learn(limit Limit, s standing, sent, received time.Time) {
	if s.count < limit.Max {
		w.Forget()
		return
	}
	w.limit = limit
	w.blockedUntil = sent.Add(min(s.retryAfter, limit.Window) - replySlack)
	w.resetAt = sent.Add(min(s.resetAfter, limit.Window))
	w.late = received.Sub(sent)
}
