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
	late         time.Duration // by how much both may be early: the round trip that told them
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
	// The block must not be too long, what is told must not be too short: a caller that waits so long finds a permit.
	v := Verdict{Limit: limit.Max, Local: true, RetryAfter: min(w.blockedUntil.Sub(now)+replySlack+w.late, limit.Window)}
	v.ResetAfter = min(w.resetAt.Sub(now)+w.late, limit.Window)
	if v.ResetAfter <= 0 {
		v.ResetAfter = v.RetryAfter
	}
	return v, true
}

// learn takes in what Redis answered to a request between the given times. Counting from the sending keeps
// the block no longer than that of Redis, whatever the two clocks say. It is capped at one window so that a Redis whose
// clock was stepped back is asked again.
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
