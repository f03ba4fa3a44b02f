package lanes

import (
	"errors"
	"sync"
	"time"
)

// ErrFull means that a community has its part of OVERFLOW. There is room for more of its messages when some are handled.
var ErrFull = errors.New("the community has its part of OVERFLOW")

const (
	// fullTime is how long a community's part counts as full after a message that found no room.
	fullTime = time.Minute
	// overhead is more than what a message takes in a stream besides its subject, headers and body.
	overhead = 40
	// minAveraged is how many messages an average is of, at least.
	minAveraged = 1_000
	// lastPart is the part of OVERFLOW, 1/lastPart, that messages which may be in it already leave to others.
	lastPart = 10
)

// parts says how much of OVERFLOW each community may have. It may store a message only while it has less there than what
// is free (a dynamic threshold, Choudhury and Hahne 1998). So one community alone has half of the bytes at most, two have a
// third each, and there is always room for the next.
//
// JetStream counts the messages of a community, but not their bytes. So these are estimated: by the messages that the last
// look has found, and the average size of those that this process has stored; and by what it has stored since the look.
// Several processes may store too much in the second between two looks; OVERFLOW itself refuses what it has no room for.
type parts struct {
	mu          sync.Mutex // protects the fields below
	bound       int64      // of OVERFLOW, in bytes; below 1: none, or it is not known yet
	all         part       // of all communities, and whatever else is in OVERFLOW
	communities map[string]*part
}

// part is what a community has in OVERFLOW, in bytes.
type part struct {
	looked int64 // at the last look
	stored int64 // by this process since the last look began
	before int64 // the part of stored that was stored before the look that is under way
	onWay  int64 // from this process into OVERFLOW

	messages, bytes int64     // of those messages that the average size is of
	refused         time.Time // when a message last found no room
	full            bool      // that was a moment ago, and has been logged
}

func (p *part) has() int64 { return p.looked + p.stored + p.onWay }

// take takes room for a message of a community, or reports that there is none. If there is, the caller calls ended.
func (s *parts) take(community string, size int64, now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.roomLocked(community, size) {
		s.partLocked(community).refused = now
		return false
	}
	s.takeLocked(community, size)
	return true
}

// takeAgain is take for a message that may be in OVERFLOW already: it need not be in its community's part, while a tenth
// of OVERFLOW is left.
func (s *parts) takeAgain(community string, size int64, now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.roomLocked(community, size) && s.all.has()+size > s.bound-s.bound/lastPart {
		s.partLocked(community).refused = now
		return false
	}
	s.takeLocked(community, size)
	return true
}

// takeLocked takes room. The caller must hold s.mu.
func (s *parts) takeLocked(community string, size int64) {
	s.partLocked(community).onWay += size
	s.all.onWay += size
}

// room reports whether there is room for a message of a community.
func (s *parts) room(community string, size int64, now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.roomLocked(community, size) {
		s.partLocked(community).refused = now
		return false
	}
	return true
}

// roomLocked is room for a message that is not refused if there is none. The caller must hold s.mu.
func (s *parts) roomLocked(community string, size int64) bool {
	return s.bound <= 0 || s.partLocked(community).has()+size <= s.bound-s.all.has()-size
}

// ended says that a message for which room was taken is stored, or is not going to be.
func (s *parts) ended(community string, size int64, stored bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.partLocked(community)
	p.onWay -= size
	s.all.onWay -= size
	if stored {
		p.stored += size
		s.all.stored += size
		p.messages++
		p.bytes += size
	}
}

// refuse notes that OVERFLOW itself has refused a message.
func (s *parts) refuse(community string, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.partLocked(community).refused = now
}

// partLocked is the part of a community, which is in a lane. The caller must hold s.mu.
func (s *parts) partLocked(community string) *part {
	p := s.communities[community]
	if p == nil {
		p = &part{}
		s.communities[community] = p
	}
	return p
}

// begin says that a look at OVERFLOW begins: it will see all that is stored now.
func (s *parts) begin() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all.before = s.all.stored
	for _, p := range s.communities {
		p.before = p.stored
	}
}

// see stores what the look has found. It returns the communities whose part has become full since the last look, with
// true, or has been no more for fullTime.
func (s *parts) see(o *overflow, now time.Time) (changed map[string]bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.bound = o.bound
	s.all.looked = int64(o.bytes) //nolint:gosec // far below 9e18
	s.all.stored -= s.all.before
	messages := make(map[string]int64, len(o.waiting))
	for key, w := range o.waiting {
		messages[key.Community] += int64(w.messages) //nolint:gosec // as above
		s.partLocked(key.Community)
	}
	for community, p := range s.communities {
		p.seeLocked(messages[community], o)
		if full := now.Sub(p.refused) < fullTime; full != p.full {
			if p.full = full; changed == nil {
				changed = map[string]bool{}
			}
			changed[community] = full
		}
		if p.has() == 0 && !p.full {
			delete(s.communities, community)
		}
	}
	return changed
}

// seeLocked is see for a community of which OVERFLOW holds so many messages. The average is of about as many of the
// messages that this process has stored; of those of other communities while it has stored none.
func (p *part) seeLocked(messages int64, o *overflow) {
	p.stored -= p.before
	for p.messages > 2*max(messages, minAveraged) {
		p.messages, p.bytes = p.messages/2, p.bytes/2
	}
	sizes, of := p.bytes, p.messages
	if of == 0 {
		sizes, of = int64(o.bytes), int64(o.messages) //nolint:gosec // far below 9e18
	}
	p.looked = messages * (sizes / max(1, of))
}

// full is how many communities have no room.
func (s *parts) full() (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range s.communities {
		if p.full {
			n++
		}
	}
	return n
}

// Take takes room in OVERFLOW for a message of the lane's community: so many bytes of subject, headers and body. It
// returns false if the community has its part. Otherwise the caller calls Ended once it is known how that ended. Both
// may be called by any goroutine.
func (l *Lane) Take(bytes int) bool {
	return l.parts.take(l.Community, int64(bytes)+overhead, time.Now())
}

// TakeAgain is Take for a message that may be in the lane already, which JetStream then drops. It takes room beyond the
// community's part as well, unless OVERFLOW is nearly full.
func (l *Lane) TakeAgain(bytes int) bool {
	return l.parts.takeAgain(l.Community, int64(bytes)+overhead, time.Now())
}

// Room reports whether OVERFLOW has room for a further message of the lane's community.
func (l *Lane) Room(bytes int) bool {
	return l.parts.room(l.Community, int64(bytes)+overhead, time.Now())
}

// Ended ends what Take or TakeAgain has begun. stored says whether the message is known to be stored by that.
func (l *Lane) Ended(bytes int, stored bool) {
	l.parts.ended(l.Community, int64(bytes)+overhead, stored)
}

// Refused says that OVERFLOW itself has refused a message of the lane, because it is full or the lane is.
func (l *Lane) Refused() { l.parts.refuse(l.Community, time.Now()) }
