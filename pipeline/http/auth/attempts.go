package auth

import (
	"time"

	"golang.org/x/time/rate"
)

// failuresPerMinute is how many failed log-ins a process allows a minute.
const failuresPerMinute = 20

// Attempts bounds the failed log-ins of a process. Counting them by address would bound nobody who has many, and
// everybody who is behind the same proxy, so they are counted together: who floods the log-in keeps others from logging
// in, but not sessions and bearer tokens from being used. It is safe for concurrent use.
type Attempts struct{ failures *rate.Limiter }

// NewAttempts makes an Attempts without failures.
func NewAttempts() *Attempts {
	return &Attempts{rate.NewLimiter(rate.Every(time.Minute/failuresPerMinute), failuresPerMinute)}
}

// Try calls logIn, unless too many have failed; then it returns the time after which another may be tried. Of those that
// are tried at the same time, no more can fail than are left.
func (a *Attempts) Try(now time.Time, logIn func() bool) (wait time.Duration) {
	r := a.failures.ReserveN(now, 1)
	wait = r.DelayFrom(now)
	if wait > 0 || logIn() {
		r.CancelAt(now)
	}
	return wait
}
