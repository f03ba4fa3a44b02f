package ingress

import (
	"sync/atomic"
	"time"
)

// calm is how long no message may have failed to be stored before the log says that messages are stored again. While a
// stream is full and has room for a message now and then, there are failures and successes.
const calm = 10 * time.Second

// storing remembers whether the messages of a stream are stored, so that the log has changes and not every request. It
// is safe for concurrent use.
type storing struct {
	failing atomic.Bool
	failed  atomic.Int64 // when a message was last not stored, in unix ns
}

// fail notes that a message was not stored. It reports whether that is new.
func (s *storing) fail(now time.Time) bool {
	s.failed.Store(now.UnixNano())
	return !s.failing.Swap(true)
}

// succeed notes that a message was stored. It reports whether messages are stored again.
func (s *storing) succeed(now time.Time) bool {
	return s.failing.Load() && now.UnixNano()-s.failed.Load() >= int64(calm) && s.failing.CompareAndSwap(true, false)
}
