package fakediscord

import (
	"container/list"
	"encoding/json"
	"time"
)

// The types of interactions and of answers, as Discord numbers them.
const (
	typePing         = 1
	typeCommand      = 2
	typeComponent    = 3
	typeAutocomplete = 4
	typeModal        = 5

	answerPong        = 1
	answerMessage     = 4
	answerDefer       = 5
	answerDeferUpdate = 6
	answerUpdate      = 7
	answerChoices     = 8
	answerModal       = 9
)

// How is how an interaction got its answer.
type How string

// The ways in which an interaction gets its answer. A deferral is none yet.
const (
	Inline   How = "inline"   // the endpoint's answer to the request
	Callback How = "callback" // a call of the callback
	Edited   How = "edited"   // an edit or a follow-up, after a deferral
	Lost     How = "lost"     // none: the endpoint broke a rule, or the token expired
)

// Ended says how an interaction ended.
type Ended struct {
	ID        string
	How       How
	After     time.Duration // since it was made
	Ephemeral bool
	Message   json.RawMessage // the answer, as the application sent it; nil if it is Lost or has no message
}

// state is how far an interaction has come.
type state int

const (
	unanswered state = iota
	deferred         // a message follows: it shows "thinking"
	updating         // an update of the component's message follows
	done             // it has its answer
	failed           // the endpoint broke a rule
)

// interaction is what is remembered of an interaction.
type interaction struct {
	// set when it is made, read-only
	id, token, channel, guild, user, did string

	kind    int
	created time.Time

	// The Server's mu protects the fields below.
	state     state
	ephemeral bool     // the first answer
	original  string   // ID of the first answer's message; "" while there is none
	followUps []string // IDs of further messages
	calls     []time.Time
	history   *History      // nil if it is not kept
	element   *list.Element // in open or answered; nil if it is in neither
}

// Totals counts what happened since the Server was made.
type Totals struct {
	Issued   int // interactions made, also those that were not sent
	Inline   int // answered in each way
	Callback int
	Edited   int
	Lost     int
	Open     int // without an answer so far
	Deferred int // of all interactions, those that were deferred first

	Callbacks  int // calls of the API by route, also those that failed
	Edits      int
	FollowUps  int
	Others     int // reads and deletions, and all calls with the bot's token
	Refused    int // calls answered 4xx, without those answered 429
	Limited    int // calls answered 429
	Invalid    int // calls that count towards Discord's ban: answered 401, 403, or 429 without the scope shared
	Authorized int // calls with an interaction's token that also had an Authorization header, which they must not
}

// Calls is how many calls the API got for interactions, without reads and deletions.
func (t Totals) Calls() int { return t.Callbacks + t.Edits + t.FollowUps }

// Totals returns the counts so far.
func (s *Server) Totals() Totals {
	ended := s.expire(time.Now())
	s.tell(ended...)
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.totals
	t.Open = s.open.Len()
	return t
}

// rememberLocked takes up a new interaction.
func (s *Server) rememberLocked(i *interaction) {
	s.byToken[i.token] = i
	i.element = s.open.PushBack(i)
	for e := i.element.Prev(); e != nil && e.Value.(*interaction).created.After(i.created); e = i.element.Prev() {
		s.open.MoveBefore(i.element, e) // Interaction.Created was in the past
	}
	s.totals.Issued++
}

// expire ends the open interactions whose tokens have expired, and the oldest that are too many.
func (s *Server) expire(now time.Time) (ended []Ended) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for e := s.open.Front(); e != nil; e = s.open.Front() {
		i := e.Value.(*interaction)
		if s.open.Len() <= maxOpen && now.Sub(i.created) < s.o.Lifetime {
			break
		}
		i.state = failed
		ended = append(ended, s.endLocked(i, Lost, nil, now))
	}
	return ended
}

// endLocked ends an open interaction, with its answer's message.
func (s *Server) endLocked(i *interaction, how How, message json.RawMessage, now time.Time) Ended {
	s.open.Remove(i.element)
	i.element = s.answered.PushBack(i)
	if s.answered.Len() > maxAnswered {
		oldest := s.answered.Front()
		delete(s.byToken, oldest.Value.(*interaction).token)
		s.answered.Remove(oldest)
	}
	switch how {
	case Inline:
		s.totals.Inline++
	case Callback:
		s.totals.Callback++
	case Edited:
		s.totals.Edited++
	case Lost:
		s.totals.Lost++
	}
	return Ended{ID: i.id, How: how, After: now.Sub(i.created), Ephemeral: i.ephemeral, Message: message}
}

// tell tells Options.Ended.
func (s *Server) tell(ended ...Ended) {
	if s.o.Ended == nil {
		return
	}
	for _, e := range ended {
		s.o.Ended(e)
	}
}
