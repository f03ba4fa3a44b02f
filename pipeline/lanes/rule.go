package lanes

import "time"

// A community enters a lane by its share of what a process holds, as in the fair queues of Amazon SQS, and only if what
// waits takes long: a backlog that is worked off at once harms nobody, and moving it would cost more than handling it.
const (
	// minMessages is how many messages must wait for a share to mean anything.
	minMessages = 30
	// slow is how long messages wait, or will, before they count as in the way of others.
	slow = 200 * time.Millisecond
	// crowded is the same where many communities fill the pool together, none of them more than others. While handlers
	// work a pool off faster than that, to move its messages would take longer than to handle them.
	crowded = time.Second
	// poolShare and share are the parts of the consumer's pool, and of everything else, that are a community's due.
	poolShare = 20
	share     = 10
)

// Load is what a process holds of one community from one source at one moment, and what that is compared with.
type Load struct {
	Messages int           // admitted messages that wait for a handler
	Bytes    int           // of their bodies
	Waited   time.Duration // by the first of them
	Expected time.Duration // until all of them have begun, at the present pace; 0 if it is not known
	Source   int           // all messages that the process holds from the source

	HandlerShare float64 // the community's part of the process's running handlers, 0 to 1
	Pool         int     // how many messages of the source's consumer may be unacknowledged, over all processes
	Unacked      int     // how many were, when that was last seen
	Budget       int     // bytes that the process may hold
}

// Enters reports whether the community is over its due and must wait in a lane.
func (l Load) Enters() bool {
	if l.Waited < slow && l.Expected < slow {
		return false
	}
	if l.Bytes > l.Budget/share {
		return true
	}
	if l.Messages < minMessages {
		return false
	}
	if left := l.Pool - max(l.Unacked, l.Source); l.Messages > left/share && max(l.Waited, l.Expected) >= crowded {
		return true
	}
	return l.Messages > l.Pool/poolShare || l.Messages > l.Source/share || l.HandlerShare > 1.0/share
}

// mayLeave reports whether a community may leave its lane, once the lane is empty: it has been there for minStay, so that
// it does not bounce in and out, nothing of it waits in this process that came before there was a lane, and the lane is
// so short that it can be empty soon.
func mayLeave(messages uint64, busy bool, stay, minStay time.Duration) bool {
	return messages < minMessages && !busy && stay >= minStay
}
