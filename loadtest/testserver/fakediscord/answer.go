package fakediscord

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"
)

// Response is an answer to an interaction.
type Response struct {
	Type int             `json:"type"`
	Data json.RawMessage `json:"data,omitempty"`
}

// allowed is which types of answers an interaction may have.
var allowed = map[int][]int{
	typePing:         {answerPong},
	typeCommand:      {answerMessage, answerDefer, answerModal},
	typeComponent:    {answerMessage, answerDefer, answerDeferUpdate, answerUpdate, answerModal},
	typeAutocomplete: {answerChoices},
	typeModal:        {answerMessage, answerDefer, answerDeferUpdate, answerUpdate},
}

// maxChoices is how many choices an autocomplete may have.
const maxChoices = 25

// checkResponse holds a first answer to the rules. m is its message, nil if it has none.
func checkResponse(kind int, r Response) (m *message, fault *apiError) {
	if !slices.Contains(allowed[kind], r.Type) {
		return nil, invalidForm("type", "BASE_TYPE_CHOICES", fmt.Sprintf("An interaction of type %d may not be answered with type %d.", kind, r.Type))
	}
	switch r.Type {
	case answerMessage, answerUpdate:
		if m, fault = parseMessage(orObject(r.Data)); fault != nil {
			return nil, fault
		}
		if r.Type == answerMessage && m.empty() {
			return nil, errEmptyMessage
		}
		return m, nil
	case answerDefer, answerDeferUpdate:
		if m, fault = parseMessage(orObject(r.Data)); fault != nil {
			return nil, fault
		}
		if m.Flags&^flagHidden != 0 || !m.empty() { // Discord ignores what else a deferral has
			return nil, invalidForm("data", "DEFERRAL", "A deferral has no flag but EPHEMERAL, and no message.")
		}
		return m, nil
	case answerChoices:
		var data struct{ Choices []json.RawMessage }
		if json.Unmarshal(r.Data, &data) != nil || data.Choices == nil || len(data.Choices) > maxChoices {
			return nil, invalidForm("data.choices", "BASE_TYPE_MAX_LENGTH", fmt.Sprintf("There must be choices, %d or fewer.", maxChoices))
		}
	case answerModal:
		var data struct {
			CustomID   string `json:"custom_id"`
			Title      string
			Components []json.RawMessage
		}
		if json.Unmarshal(r.Data, &data) != nil || data.CustomID == "" || data.Title == "" || len(data.Components) == 0 {
			return nil, invalidForm("data", "BASE_TYPE_REQUIRED", "A modal has custom_id, title and components.")
		}
	}
	return nil, nil
}

func orObject(data json.RawMessage) []byte {
	if len(data) == 0 {
		return []byte("{}")
	}
	return data
}

// firstLocked takes the first answer to an interaction, which checkResponse has found good. how is Inline or Callback.
func (s *Server) firstLocked(i *interaction, how How, r Response, m *message, now time.Time) (ended []Ended) {
	defer s.changedLocked()
	i.ephemeral = m != nil && m.Flags&flagHidden != 0
	switch r.Type {
	case answerDefer:
		i.state, i.original = deferred, NewIDAt(now)
		s.showLocked(i, &Message{ID: i.original, Did: i.did, Ephemeral: i.ephemeral, Thinking: true}, now)
	case answerDeferUpdate:
		i.state = updating
	case answerMessage:
		i.state, i.original = done, NewIDAt(now)
		shown := &Message{ID: i.original, Did: i.did, Ephemeral: i.ephemeral}
		m.applyTo(shown)
		s.showLocked(i, shown, now)
	case answerUpdate:
		i.state = done
		s.editLocked(i.original, m, now)
	default:
		i.state = done
	}
	i.history.note(Event{At: now, Kind: kindOf(how), Type: r.Type, Body: r.Data, Message: i.original})
	if i.state != done {
		s.totals.Deferred++
		return nil
	}
	return []Ended{s.endLocked(i, how, r.Data, now)}
}

func kindOf(how How) Kind {
	if how == Inline {
		return EventInline
	}
	return EventCallback
}

// failLocked ends an interaction whose endpoint broke a rule.
func (s *Server) failLocked(i *interaction, rule string, now time.Time) (ended []Ended) {
	if i.state != unanswered {
		return nil
	}
	i.state = failed
	i.history.note(Event{At: now, Kind: EventFailed, Rule: rule})
	s.showLocked(i, &Message{ID: NewIDAt(now), Did: i.did, Ephemeral: true, Failed: "The application did not respond"}, now)
	s.changedLocked()
	return []Ended{s.endLocked(i, Lost, nil, now)}
}

// laterLocked counts a message that came after the first answer. It is the answer if that was a deferral. A message that
// was deleted is nil.
func (s *Server) laterLocked(i *interaction, message json.RawMessage, now time.Time) (ended []Ended) {
	if i.state != deferred && i.state != updating {
		return nil
	}
	i.state = done
	return []Ended{s.endLocked(i, Edited, message, now)}
}

// showLocked adds a message to those that are kept.
func (s *Server) showLocked(i *interaction, m *Message, now time.Time) {
	m.Channel, m.Guild, m.User, m.Interaction, m.At = i.channel, i.guild, i.user, i.id, now
	s.histories.show(i.history, m)
}

// editLocked edits a message, if it is kept.
func (s *Server) editLocked(id string, m *message, now time.Time) {
	shown := s.histories.messages[id]
	if shown == nil || m == nil {
		return
	}
	m.applyTo(shown)
	if !shown.Thinking {
		shown.Edited = now
	}
	shown.Thinking = false
}
