package contract

import "time"

const (
	// AnswerDiscord is the [HeaderAnswer] of an interaction that came over HTTP: its answer is a response as Discord takes
	// it, sent as a request to the message's reply-to. The reply says what became of it.
	AnswerDiscord = "discord"
	// AnswerEventType is the event type of the messages in ANSWERS.
	AnswerEventType = "discord"
	// AnswerWait is for how long the sender of an interaction waits: a handler that fails is tried again within it.
	AnswerWait = time.Minute
)

// What became of an answer.
const (
	// TakenInline means that the client has got it with the response to its own request.
	TakenInline = "inline"
	// TakenLate means that the client was told to wait for it, so that it must be sent in another way; or that it is gone
	// since.
	TakenLate = "late"
	// TakenNot means that the client is gone, and was told nothing.
	TakenNot = "gone"
)
