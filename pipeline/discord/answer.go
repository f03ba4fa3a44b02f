package discord

import "encoding/json"

// Way is how an answer reaches Discord.
type Way string

// The ways. Each is one request.
const (
	// Callback answers an interaction that nobody has answered yet, as far as is known. If it was, Discord says so, and
	// the answer becomes an Edit.
	Callback Way = "callback"
	// Edit replaces the first answer to the interaction, such as a deferral.
	Edit Way = "edit"
	// FollowUp is a further message.
	FollowUp Way = "followup"
)

// Response is an answer to an interaction, in Discord's form.
type Response struct {
	Type ResponseType    `json:"type"`
	Data json.RawMessage `json:"data,omitempty"` // a message, or a modal
}

// ResponseType is the type of a response, as Discord numbers them.
type ResponseType int

// The types of responses.
const (
	ResponsePong        ResponseType = 1
	ResponseMessage     ResponseType = 4
	ResponseDefer       ResponseType = 5 // a message follows
	ResponseDeferUpdate ResponseType = 6 // an update of the component's message follows
	ResponseUpdate      ResponseType = 7 // updates the component's message
	ResponseChoices     ResponseType = 8 // of an autocomplete
	ResponseModal       ResponseType = 9
)

// Answer is what is stored in ANSWERS: a response that is sent by REST, and messages that follow it.
type Answer struct {
	Target
	Way       Way               `json:"way"`
	Response  Response          `json:"response"`
	Refusal   bool              `json:"refusal,omitempty"`    // it may be dropped rather than wait
	FollowUps []json.RawMessage `json:"follow_ups,omitempty"` // messages that are sent after it, in this order; MaxFollowUps at most
}

// MaxFollowUps is how many messages may follow an answer. Discord allows as many where the app is installed by the user
// alone.
const MaxFollowUps = 5

// Next returns the answer that is to be sent when a was: the first of its follow-ups, with those that remain. It returns
// nil if there are none. It does not change a.
func Next(a *Answer) *Answer {
	if len(a.FollowUps) == 0 {
		return nil
	}
	return &Answer{
		Target: a.Target, Way: FollowUp,
		Response: Response{Type: ResponseMessage, Data: a.FollowUps[0]}, FollowUps: a.FollowUps[1:],
	}
}
