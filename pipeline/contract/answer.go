package contract

// AnswerEventType is the event type of the messages in ANSWERS, by which their handler is found.
const AnswerEventType = "discord"

// A worker publishes an answer to an interaction as a request to the message's reply-to, and is told what became of it.
const (
	// TakenInline means that the client has got the answer with the response to its own request.
	TakenInline = "inline"
	// TakenLate means that no request waits for the answer any more, so that it must be sent in another way.
	TakenLate = "late"
)
