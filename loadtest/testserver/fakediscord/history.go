package fakediscord

import (
	"cmp"
	"encoding/json"
	"slices"
	"time"
)

// maxEvents bounds the events of one history. Later ones are not kept.
const maxEvents = 200

// History is all that was said about one interaction, in order.
type History struct {
	ID, Token string
	Events    []Event
	messages  []*Message
}

// Kind is the kind of an [Event].
type Kind string

// The kinds of events.
const (
	EventInline   Kind = "inline"   // the endpoint's answer; also a deferral
	EventAccepted Kind = "accepted" // the endpoint answered 202: a callback comes
	EventCallback Kind = "callback" // also a deferral
	EventEdit     Kind = "edit"
	EventFollowUp Kind = "followup"
	EventDelete   Kind = "delete"
	EventFailed   Kind = "failed" // the endpoint broke a rule
)

// Event is one thing that was said.
type Event struct {
	At      time.Time
	Kind    Kind
	Type    int             // of the response: 4, 5, …; 0 for an edit and a follow-up
	Body    json.RawMessage // the response's data, or the message, as it was sent
	Message string          // the ID of the message that it made or changed
	Rule    string          // EventFailed: the rule that was broken
}

// Message is a message that a channel shows.
type Message struct {
	ID, Channel, Guild string
	Interaction        string // the one that it answers
	User               string // who did it; an ephemeral message is shown to this user alone
	Did                string // what the user did, such as "/ping"; "" for a follow-up
	Content            string
	Embeds             []json.RawMessage
	Components         []json.RawMessage
	Ephemeral          bool
	Thinking           bool // deferred: the answer is not there yet
	Deleted            bool
	Failed             string // why there is no answer: the application did not respond
	At                 time.Time
	Edited             time.Time // zero if it was not edited
}

// histories keeps the newest histories. The Server's mu protects it.
type histories struct {
	max      int
	byID     map[string]*History
	ids      []string            // oldest first
	messages map[string]*Message // of all kept histories, by ID
}

func newHistories(max int) histories {
	return histories{max: max, byID: make(map[string]*History), messages: make(map[string]*Message)}
}

// begin returns a new history, or nil if none are kept.
func (h *histories) begin(id, token string) *History {
	if h.max < 0 {
		return nil
	}
	if len(h.ids) >= h.max {
		for _, m := range h.byID[h.ids[0]].messages {
			delete(h.messages, m.ID)
		}
		delete(h.byID, h.ids[0])
		h.ids = slices.Delete(h.ids, 0, 1)
	}
	history := &History{ID: id, Token: token}
	h.byID[id] = history
	h.ids = append(h.ids, id)
	return history
}

// show adds a message to a history, which may be nil.
func (h *histories) show(history *History, m *Message) {
	if history == nil || len(history.messages) >= maxEvents {
		return
	}
	history.messages = append(history.messages, m)
	h.messages[m.ID] = m
}

// note adds an event.
func (h *History) note(e Event) {
	if h != nil && len(h.Events) < maxEvents {
		h.Events = append(h.Events, e)
	}
}

// History returns what was said about an interaction, and false if that is not kept.
func (s *Server) History(id string) (History, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	h := s.histories.byID[id]
	if h == nil {
		return History{}, false
	}
	return History{ID: h.ID, Token: h.Token, Events: slices.Clone(h.Events)}, true
}

// Messages returns the channel's messages that are kept, oldest first, without deleted ones.
func (s *Server) Messages(channel string) []Message {
	s.mu.Lock()
	defer s.mu.Unlock()
	var found []Message
	for _, m := range s.histories.messages {
		if m.Channel == channel && !m.Deleted {
			found = append(found, *m)
		}
	}
	slices.SortFunc(found, func(a, b Message) int {
		return cmp.Or(a.At.Compare(b.At), cmp.Compare(len(a.ID), len(b.ID)), cmp.Compare(a.ID, b.ID))
	})
	return found
}

// Message returns a message that is kept.
func (s *Server) Message(id string) (Message, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	m := s.histories.messages[id]
	if m == nil {
		return Message{}, false
	}
	return *m, true
}

// Changes returns a channel that gets a value after messages have changed: one, however many changes there were since
// the last was taken. The caller must call end.
func (s *Server) Changes() (changed <-chan struct{}, end func()) {
	c := make(chan struct{}, 1)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.subscribers[c] = true
	return c, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.subscribers, c)
	}
}

// changedLocked tells those who look.
func (s *Server) changedLocked() {
	for c := range s.subscribers {
		select {
		case c <- struct{}{}:
		default: // it has a value
		}
	}
}
