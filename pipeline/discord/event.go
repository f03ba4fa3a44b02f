package discord

import (
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"
)

// Event is a webhook event: something that has happened at Discord, told to another URL than interactions are. Discord
// repeats events that were not taken, and does not keep their order.
type Event struct {
	Type        string // such as ENTITLEMENT_CREATE; "" for a ping
	At          time.Time
	Entitlement *Entitlement // of the events whose type begins with ENTITLEMENT_, else nil
}

// ParseEvent reads the body of a request with a webhook event. An error is a *[ParseError]. Events of other types than
// entitlements' pass without a look at their data.
func ParseEvent(body []byte) (*Event, error) {
	var in struct {
		Type  *int `json:"type"`
		Event struct {
			Type string         `json:"type"`
			At   string         `json:"timestamp"`
			Data jsontext.Value `json:"data"`
		} `json:"event"`
	}
	if err := unmarshal(body, "", &in); err != nil {
		return nil, err
	}
	const ping, event = 0, 1
	switch {
	case in.Type == nil:
		return nil, &ParseError{"type", "is missing: expected 0 or 1"}
	case *in.Type == ping:
		return &Event{}, nil
	case *in.Type != event:
		return nil, &ParseError{"type", "expected 0 or 1"}
	case in.Event.Type == "":
		return nil, &ParseError{"event.type", "is missing: expected a type such as ENTITLEMENT_CREATE"}
	}
	at, err := parseTime("event.timestamp", in.Event.At)
	if err != nil {
		return nil, err
	}
	e := &Event{Type: in.Event.Type, At: at}
	if !strings.HasPrefix(e.Type, "ENTITLEMENT_") {
		return e, nil
	}
	if absent(in.Event.Data) {
		return nil, &ParseError{"event.data", "is missing: expected an entitlement"}
	}
	var received receivedEntitlement
	if err := unmarshal(in.Event.Data, "event.data", &received); err != nil {
		return nil, err
	}
	entitlement, err := received.entitlement("event.data")
	if err != nil {
		return nil, err
	}
	entitlement.Deleted = entitlement.Deleted || e.Type == "ENTITLEMENT_DELETE"
	e.Entitlement = &entitlement
	return e, nil
}
