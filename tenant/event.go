package tenant

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
)

// EventType says what has changed.
type EventType string

// The types of the contract.
const (
	// TenantChanged: the config under TargetID, an ID that messages carry.
	TenantChanged EventType = "tenant_config"
	// GlobalChanged: anything may have changed. Refresh the tiers and read
	// every config and flag again; trust nothing known of limits either. The
	// target does not matter.
	GlobalChanged EventType = "global_config"
	// FlagChanged: the flag TargetID.
	FlagChanged EventType = "feature_flag"
	// LimitReset: admissions were forgotten; see [Event.Reset].
	LimitReset EventType = "limit_reset"
)

var eventTypes = [...]EventType{TenantChanged, GlobalChanged, FlagChanged, LimitReset}

// Way is how an event reached this process.
type Way string

// The ways.
const (
	PubSub Way = "pubsub"
	Poll   Way = "poll"
)

// maxEvent is the size in bytes of the largest event that is looked at.
const maxEvent = 4 << 10

// Event is a change of configuration.
type Event struct {
	Type     EventType
	TargetID string
	At       time.Time // when, by the clock of Redis, in ms
	Source   string    // who changed it; empty when it comes by poll
	Via      Way       // how it came here; not part of the JSON
}

// wireEvent is an Event on the channel.
type wireEvent struct {
	Type      EventType `json:"type"`
	TargetID  string    `json:"targetId"`
	Timestamp int64     `json:"timestamp"` // unix ms
	Source    string    `json:"source"`
}

// ParseEvent reads an event from the channel. It refuses an unknown type and a
// target that its type cannot have; members it does not know it passes over.
func ParseEvent(data []byte) (Event, error) {
	if len(data) > maxEvent {
		return Event{}, fmt.Errorf("event of %d bytes, at most %d are accepted", len(data), maxEvent)
	}
	var w wireEvent
	if err := json.Unmarshal(data, &w); err != nil {
		return Event{}, fmt.Errorf("event is not JSON of the right shape: %w", err)
	}
	ev := Event{
		Type:     w.Type,
		TargetID: w.TargetID,
		At:       time.UnixMilli(w.Timestamp).UTC(),
		Source:   shorten(w.Source),
		Via:      PubSub,
	}
	return ev, ev.validate()
}

// Reset reads the target of a LimitReset event, which is "<community>" for all
// actions or "<community>:<action>". Community IDs may hold colons: the last
// segment is the action if it is the name of one, and only that segment. ok is
// false for an event of another type.
func (e Event) Reset() (community string, actions []Action, ok bool) {
	if e.Type != LimitReset {
		return "", nil, false
	}
	if i := strings.LastIndexByte(e.TargetID, ':'); i > 0 {
		if a, err := ParseAction(e.TargetID[i+1:]); err == nil {
			return e.TargetID[:i], []Action{a}, true
		}
	}
	return e.TargetID, allActions(), true
}

func allActions() []Action {
	return []Action{Command, EligibilityCheck, SyncRequest, UserCommand}
}

// resetEvents are the events of a reset. A community whose own last segment is
// the name of an action is not named alone, as that would be read as a reset
// of a shorter ID: its actions are named one by one.
func resetEvents(community string, actions []Action) ([]Event, error) {
	if len(actions) == 0 {
		whole := Event{Type: LimitReset, TargetID: community}
		if parsed, _, _ := whole.Reset(); parsed == community {
			return []Event{whole}, nil
		}
		actions = allActions()
	}
	events := make([]Event, len(actions))
	for i, a := range actions {
		if a >= NumActions {
			return nil, fmt.Errorf("reset of %s: no such action", a)
		}
		events[i] = Event{Type: LimitReset, TargetID: community + ":" + a.String()}
	}
	return events, nil
}

// member is the event's entry in the change log.
func (e Event) member() string { return string(e.Type) + ":" + e.TargetID }

// parseMember reads an entry of the change log.
func parseMember(member string, ms int64) (Event, error) {
	kind, target, ok := strings.Cut(member, ":")
	if !ok {
		return Event{}, errors.New("entry has no type before a ':'")
	}
	ev := Event{Type: EventType(kind), TargetID: target, At: time.UnixMilli(ms).UTC(), Via: Poll}
	return ev, ev.validate()
}

func (e Event) validate() error {
	ok := false
	switch e.Type {
	case TenantChanged:
		ok = ValidID(e.TargetID)
	case GlobalChanged:
		ok = len(e.TargetID) <= maxID
	case FlagChanged:
		ok = ValidFlagID(e.TargetID)
	case LimitReset:
		community, _, _ := e.Reset()
		ok = ValidID(community)
	default:
		return fmt.Errorf("event has the unknown type %q", shorten(string(e.Type)))
	}
	if !ok {
		return fmt.Errorf("%s event has a bad target %q", e.Type, shorten(e.TargetID))
	}
	return nil
}

// aroundTimestamp is the event's JSON before and behind its timestamp, which
// Redis puts in.
func (e Event) aroundTimestamp() (before, behind string, err error) {
	text, err := json.Marshal(wireEvent{Type: e.Type, TargetID: e.TargetID, Source: e.Source})
	if err != nil {
		return "", "", fmt.Errorf("%s event: %w", e.Type, err)
	}
	const name = `"timestamp":`
	// IDs hold no quotes, so the first match is the name.
	head, tail, _ := bytes.Cut(text, []byte(name+"0"))
	return string(head) + name, string(tail), nil
}
