package lanes

import "time"

const (
	// firstPause and longestPause bound the time after a try that failed: of a process to close a lane, or of a Door to
	// change a community over. Each holds messages up for a moment. Where it fails again and again, because the community
	// never stops, that must be rare.
	firstPause   = 2 * time.Second
	longestPause = time.Minute
)

// backoff says when something that has failed may be tried again. The zero value: at once.
type backoff struct {
	pause time.Duration // after the last try; 0: there was none
	again time.Time     // when the next try is due
}

func (b *backoff) due(now time.Time) bool { return !now.Before(b.again) }

// failed puts the next try off, by twice as much as the last time.
func (b *backoff) failed(now time.Time) {
	b.pause = min(max(2*b.pause, firstPause), longestPause)
	b.again = now.Add(b.pause)
}
