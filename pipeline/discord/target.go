package discord

import "time"

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

// Target says where the answer to an interaction goes.
type Target struct {
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
