package lanes

import "time"

// A community enters a lane by its share of what a process holds, as in the fair queues of Amazon SQS, and only if what
// waits takes long: a backlog that is worked off at once harms nobody, and moving it would cost more than handling it.
const (
	// DueMessages is how many messages must wait for a share to mean anything.
	DueMessages = 30
	// DueShare is the largest share that is due to one community while others wait: 1/DueShare.
	DueShare = 10
	// poolShare is the same of the consumer's pool, which others fill as well.
	poolShare = 20
	// slow is how long messages wait, or will, before they count as in the way of others.
	slow = 200 * time.Millisecond
	// crowded is the same where many communities fill the pool together, none of them more than others. While handlers
	// work a pool off faster than that, to move its messages would take longer than to handle them.
	crowded = time.Second
)

// BeyondShare reports whether a part of all is more than one community's share.
func BeyondShare(part, all int) bool { return part*DueShare > all }

// BeyondDue reports whether so many messages of all are more than is due to one community.
func BeyondDue(messages, all int) bool { return messages >= DueMessages && BeyondShare(messages, all) }

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
	if BeyondShare(l.Bytes, l.Budget) {
		return true
	}
	if l.Messages < DueMessages {
		return false
	}
	if left := l.Pool - max(l.Unacked, l.Source); BeyondShare(l.Messages, left) && max(l.Waited, l.Expected) >= crowded {
		return true
	}
	return l.Messages > l.Pool/poolShare || BeyondShare(l.Messages, l.Source) || l.HandlerShare > 1.0/DueShare
}

// mayLeave reports whether a community may leave its lane, once the lane is empty: it has been there for minStay, so that
// it does not bounce in and out, nothing of it waits in this process that came before there was a lane, and the lane is
// so short that it can be empty soon.
func mayLeave(messages uint64, busy bool, stay, minStay time.Duration) bool {
	return messages < DueMessages && !busy && stay >= minStay
}
