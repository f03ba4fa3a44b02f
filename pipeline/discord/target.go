package discord

import (
	"bytes"
	"strconv"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// Type is the type of an interaction, as Discord numbers them.
type Type int

// The types of interactions.
const (
	Ping         Type = 1
	Command      Type = 2
	Component    Type = 3
	Autocomplete Type = 4
	Modal        Type = 5
)

// String returns the type's name, as it is in an envelope and in metrics.
func (t Type) String() string {
	switch t {
	case Ping:
		return "ping"
	case Command:
		return "command"
	case Component:
		return "component"
	case Autocomplete:
		return "autocomplete"
	case Modal:
		return "modal"
	default:
		return "unknown"
	}
}

// Target says where the answer to an interaction goes.
type Target struct {
	// ApplicationID is "" if a gateway has left it out. It is the one of the settings then.
	ApplicationID string `json:"application_id"`
	InteractionID string `json:"interaction_id"`
	// Token allows to answer for 15 minutes. It is a secret: whoever has it can write in the bot's name. Its JSON name is
	// the one that [Redact] looks for.
	Token   string `json:"interaction_token"`
	Type    Type   `json:"type"`
	Channel string `json:"channel_id,omitempty"`
	Locale  string `json:"locale,omitempty"` // of the user; "" if it is not known
}

// Lifetime is for how long a token is valid, from when its interaction was created.
const Lifetime = 15 * time.Minute

// TargetOf returns the target of the answer to a message whose envelope has this data. ok is false if the message is no
// interaction: the data lacks interaction_id or interaction_token, or one of its IDs or its token is not valid. Data
// that does not mention a token costs only the search for it.
func TargetOf(data []byte) (t Target, ok bool) {
	if !bytes.Contains(data, tokenName) {
		return Target{}, false
	}
	var d struct {
		ApplicationID string         `json:"application_id"`
		ID            string         `json:"interaction_id"`
		Token         string         `json:"interaction_token"`
		Type          jsontext.Value `json:"interaction_type"`
		Channel       string         `json:"channel_id"`
		Locale        string         `json:"locale"`
	}
	if err := json.Unmarshal(data, &d); err != nil || !ValidID(d.ID) || !ValidToken(d.Token) ||
		d.ApplicationID != "" && !ValidID(d.ApplicationID) || d.Channel != "" && !ValidID(d.Channel) {
		return Target{}, false
	}
	return Target{
		ApplicationID: d.ApplicationID, InteractionID: d.ID, Token: d.Token,
		Type: typeOf(d.Type), Channel: d.Channel, Locale: localeOf(d.Locale),
	}, true
}

// typeOf reads the type of an interaction from the data of an envelope: its name or its number, or the name that
// libraries for Discord have for it. What it does not know is a command, whose answer is a message of its own.
func typeOf(v jsontext.Value) Type {
	switch string(bytes.Trim(v, `"`)) {
	case "component", "3", "MESSAGE_COMPONENT":
		return Component
	case "autocomplete", "4", "APPLICATION_COMMAND_AUTOCOMPLETE":
		return Autocomplete
	case "modal", "5", "MODAL_SUBMIT":
		return Modal
	default:
		return Command
	}
}

// epoch is when Discord's IDs begin to count: the first moment of 2015, in Unix milliseconds.
const epoch = 1_420_070_400_000

// Created returns when Discord has made the ID of an interaction, to the millisecond and by Discord's clock. ok is false
// if it is no ID.
func Created(interactionID string) (at time.Time, ok bool) {
	n, err := strconv.ParseUint(interactionID, 10, 64)
	if err != nil || !ValidID(interactionID) {
		return time.Time{}, false
	}
	return time.UnixMilli(int64(n>>22) + epoch), true
}
