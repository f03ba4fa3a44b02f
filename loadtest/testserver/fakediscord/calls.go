package fakediscord

import (
	"encoding/json"
	"net/http"
	"slices"
	"time"
)

// original is the name of the first answer's message in a path.
const original = "@original"

// callback takes the first answer to an interaction.
func (s *Server) callback(r *http.Request, body []byte) (int, any, *apiError) {
	var response Response
	if json.Unmarshal(body, &response) != nil {
		return 0, nil, &apiError{Status: 400, Code: 50109, Message: "The request body contains invalid JSON."}
	}
	i := s.find(r.PathValue("token"))
	if i == nil || i.id != r.PathValue("id") {
		return 0, nil, errUnknownInteraction
	}
	m, fault := checkResponse(i.kind, response)
	now := time.Now()
	s.mu.Lock()
	var ended []Ended
	switch {
	case i.state != unanswered && i.state != failed:
		fault = errAlreadyAnswered
	case i.state == failed, now.Sub(i.created) > s.o.AnswerTime:
		fault = errUnknownInteraction
	case fault == nil:
		ended = s.firstLocked(i, Callback, response, m, now)
	}
	s.mu.Unlock()
	s.tell(ended...)
	return http.StatusNoContent, nil, fault
}

// webhookLocked returns the interaction that a call belongs to. Before the first answer there is no webhook yet.
func (s *Server) webhookLocked(r *http.Request, now time.Time) (*interaction, *apiError) {
	i := s.byToken[r.PathValue("token")]
	switch {
	case r.PathValue("app") != s.o.ApplicationID:
		return nil, errUnknownWebhook
	case i == nil, now.Sub(i.created) >= s.o.Lifetime:
		return nil, errInvalidToken
	case i.state == unanswered, i.state == failed:
		return nil, errUnknownWebhook
	}
	return i, nil
}

// edit replaces the first answer, or a follow-up.
func (s *Server) edit(r *http.Request, body []byte) (int, any, *apiError) {
	m, fault := parseMessage(body)
	return s.onMessage(r, fault, func(i *interaction, id string, now time.Time) ([]Ended, *apiError) {
		if i.state == deferred && m.empty() {
			return nil, errEmptyMessage
		}
		s.editLocked(id, m, now)
		i.history.note(Event{At: now, Kind: EventEdit, Body: body, Message: id})
		s.changedLocked()
		if r.PathValue("message") != original {
			return nil, nil
		}
		return s.laterLocked(i, body, now), nil
	})
}

// read returns a message.
func (s *Server) read(r *http.Request, _ []byte) (int, any, *apiError) {
	return s.onMessage(r, nil, func(*interaction, string, time.Time) ([]Ended, *apiError) { return nil, nil })
}

// remove deletes a message.
func (s *Server) remove(r *http.Request, _ []byte) (int, any, *apiError) {
	_, _, fault := s.onMessage(r, nil, func(i *interaction, id string, now time.Time) ([]Ended, *apiError) {
		if shown := s.histories.messages[id]; shown != nil {
			shown.Deleted = true
		}
		if i.original == id {
			i.original = ""
		}
		i.followUps = slices.DeleteFunc(i.followUps, func(f string) bool { return f == id })
		i.history.note(Event{At: now, Kind: EventDelete, Message: id})
		s.changedLocked()
		return s.laterLocked(i, nil, now), nil
	})
	return http.StatusNoContent, nil, fault
}

// onMessage does something with the message that a call names, and returns the message. A fault that was found in the
// call's body counts only if there is such a message.
func (s *Server) onMessage(r *http.Request, bad *apiError, do func(*interaction, string, time.Time) ([]Ended, *apiError)) (int, any, *apiError) {
	now := time.Now()
	s.mu.Lock()
	i, fault := s.webhookLocked(r, now)
	var ended []Ended
	var object any
	if fault == nil {
		id := r.PathValue("message")
		if id == original {
			id = i.original
		}
		switch {
		case id == "" || id != i.original && !slices.Contains(i.followUps, id):
			fault = errUnknownMessage
		case bad != nil:
			fault = bad
		default:
			ended, fault = do(i, id, now)
			object = s.histories.messages[id].object(id, i.channel, s.o.ApplicationID)
		}
	}
	s.mu.Unlock()
	s.tell(ended...)
	return http.StatusOK, object, fault
}

// followUp adds a message. The first one after a deferral replaces it.
func (s *Server) followUp(r *http.Request, body []byte) (int, any, *apiError) {
	m, bad := parseMessage(body)
	now := time.Now()
	s.mu.Lock()
	i, fault := s.webhookLocked(r, now)
	var ended []Ended
	var object any
	switch {
	case fault != nil:
	case bad != nil:
		fault = bad
	case m.empty():
		fault = errEmptyMessage
	default:
		id := s.addLocked(i, m, now)
		i.history.note(Event{At: now, Kind: EventFollowUp, Body: body, Message: id})
		ended = s.laterLocked(i, body, now)
		object = s.histories.messages[id].object(id, i.channel, s.o.ApplicationID)
		s.changedLocked()
	}
	s.mu.Unlock()
	s.tell(ended...)
	return http.StatusOK, object, fault
}

// addLocked shows a follow-up and returns its message's ID.
func (s *Server) addLocked(i *interaction, m *message, now time.Time) string {
	if i.state == deferred { // as Discord does, for old applications
		s.editLocked(i.original, m, now)
		return i.original
	}
	id := NewIDAt(now)
	i.followUps = append(i.followUps, id)
	shown := &Message{ID: id, Ephemeral: m.Flags&flagHidden != 0}
	m.applyTo(shown)
	s.showLocked(i, shown, now)
	return id
}
