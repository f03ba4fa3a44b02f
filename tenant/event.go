package tenant

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// EventType says what has changed.
type EventType string

// The types of the contract.
const (
	// TenantChanged: the config stored under TargetID has changed.
	TenantChanged EventType = "tenant_config"
	// AccountChanged: the account TargetID has changed. Read the configs that name it again.
	AccountChanged EventType = "account_config"
	// GlobalChanged: anything may have changed. Refresh the tiers, read every config and flag again, and drop local
	// knowledge of limits. The target does not matter.
	GlobalChanged EventType = "global_config"
	// FlagChanged: the flag TargetID has changed.
	FlagChanged EventType = "feature_flag"
	// LimitReset: admissions have been deleted; see [Event.Reset].
	LimitReset EventType = "limit_reset"
)

// maxEvent is the size in bytes of the largest event that is accepted.
const maxEvent = 4 << 10

// Event is a change of configuration. The channel carries it as JSON, with a timestamp that the store adds.
type Event struct {
	Type     EventType `json:"type"`
	TargetID string    `json:"targetId"`
	At       time.Time `json:"-"`      // time of the change by the clock of Redis, in whole ms
	Source   string    `json:"source"` // name of the process that made the change; "" in an event from the change log
}

// ParseEvent reads an event from the channel. It refuses an unknown type, and a target that is not valid for the type.
// It ignores unknown members.
func ParseEvent(data []byte) (Event, error) {
	if len(data) > maxEvent {
		return Event{}, fmt.Errorf("event of %d bytes, at most %d are accepted", len(data), maxEvent)
	}
	var published struct {
		Event
		Timestamp int64 `json:"timestamp"` // unix ms
	}
	if err := json.Unmarshal(data, &published); err != nil {
		return Event{}, notAnEvent(err)
	}
	ev := published.Event
	ev.At = time.UnixMilli(published.Timestamp).UTC()
	ev.Source = shorten(ev.Source)
	return ev, ev.validate()
}

// notAnEvent says where the JSON of an event is wrong. It does not repeat err, which quotes the event's member names.
func notAnEvent(err error) error {
	if syntax, ok := errors.AsType[*jsontext.SyntacticError](err); ok {
		return fmt.Errorf("event is not JSON: byte %d is wrong", syntax.ByteOffset)
	}
	if shape, ok := errors.AsType[*json.SemanticError](err); ok {
		return fmt.Errorf("event is not JSON of the right shape: the value at byte %d is of the wrong type", shape.ByteOffset)
	}
	return errors.New("event is not JSON: it ends too early")
}

// Reset reads the target of a LimitReset event, which is "<id>" for all actions or "<id>:<action>". The ID is that of a
// community, or the [AccountLimitID] of an account. It may contain colons. The part after the last colon is the action if it
// is the name of an action; otherwise it belongs to the ID. ok is false for an event of another type.
func (e Event) Reset() (limitID string, actions []Action, ok bool) {
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

// Member is the member of the change log for the event: "<type>:<target>".
func (e Event) Member() string { return string(e.Type) + ":" + e.TargetID }

// ParseMember reads an event from its member in the change log and the time of the change. It refuses the same types
// and targets as [ParseEvent].
func ParseMember(member string, at time.Time) (Event, error) {
	kind, target, ok := strings.Cut(member, ":")
	if !ok {
		return Event{}, errors.New("entry has no type before a ':'")
	}
	ev := Event{Type: EventType(kind), TargetID: target, At: at}
	return ev, ev.validate()
}

func (e Event) validate() error {
	ok := false
	switch e.Type {
	case TenantChanged, AccountChanged:
		ok = ValidID(e.TargetID)
	case GlobalChanged:
		ok = len(e.TargetID) <= maxID
	case FlagChanged:
		ok = ValidFlagID(e.TargetID)
	case LimitReset:
		id, _, _ := e.Reset()
		ok = CheckLimitID(id) == nil
	default:
		return fmt.Errorf("event has the unknown type %q", shorten(string(e.Type)))
	}
	if !ok {
		return fmt.Errorf("%s event has a bad target %q", e.Type, shorten(e.TargetID))
	}
	return nil
}
