package ingress

import (
	"context"
	"net/http"

	"arrakis/pipeline/contract"
	"arrakis/pipeline/http/idempotency"
	"arrakis/pipeline/http/problem"
)

// replayedHeader is set on an answer that was given before.
const replayedHeader = "Idempotent-Replayed"

// keyReused names the problem of an event ID that belongs to another request.
const keyReused = "idempotency-key-reused"

// unrepeated runs a request whose event ID is the client's, unless it is known. See package idempotency for what is
// remembered, and remembered below for which answers.
func (in *Ingress) unrepeated(r *http.Request, m *message, waits bool) answer {
	// The request is followed to its end also if the client leaves, so that a repetition gets the answer.
	ctx := context.WithoutCancel(r.Context())
	begun := in.options.Idempotency.Begin(ctx, idempotency.Key{
		Community: m.envelope.TenantKey, Route: m.kind.String(), EventID: m.envelope.EventID,
	}, m.msg.Data)
	switch begun.Result {
	case idempotency.MayRun:
	case idempotency.Replayed:
		return m.replay(begun.Answer)
	default:
		return answer{problem: m.notRun(begun.Result)}
	}
	m.mark = begun.Mark
	if !begun.Again {
		m.setHeader(contract.HeaderRun, begun.Mark.Run())
	}
	a := in.run(ctx, m, waits)
	if m.mark != nil { // nil: see keepLate
		// The client gets its answer when all processes know it, so that it may repeat the request at once, anywhere.
		<-a.end(ctx, m.mark, m.requestID())
	}
	if r.Context().Err() != nil {
		return answer{} // the client is gone
	}
	return a
}

// end ends a mark by what its request is answered.
func (a *answer) end(ctx context.Context, mark *idempotency.Mark, requestID string) <-chan struct{} {
	if kept, ok := a.remembered(requestID); ok {
		return mark.Keep(ctx, kept)
	}
	if a.problem != nil && (a.problem.Type == problem.TypePrefix+handlerFailed || a.problem.Type == problem.TypePrefix+refusedByHandler) {
		return mark.Fail(ctx)
	}
	return mark.Forget(ctx)
}

// remembered is the answer to keep. It reports false if the request may be tried again: it failed, was over its limit,
// or has expired. What a handler refuses is answered for good, unless the code asks for a repetition.
func (a *answer) remembered(requestID string) (idempotency.Answer, bool) {
	if a.problem == nil {
		return idempotency.Answer{Status: a.status, Body: a.body}, a.status != 0
	}
	switch a.problem.Status {
	case http.StatusRequestTimeout, http.StatusTooEarly, http.StatusTooManyRequests:
		return idempotency.Answer{}, false
	}
	if a.problem.Type != problem.TypePrefix+refusedByHandler {
		return idempotency.Answer{}, false
	}
	a.problem.RequestID = requestID
	body, err := a.problem.Encode()
	return idempotency.Answer{Status: a.problem.Status, Body: body}, err == nil
}

// replay is an answer that was given before: the same status and body. The state of the limit may have changed since,
// so its headers are left out.
func (m *message) replay(known idempotency.Answer) answer {
	if known.TooLarge {
		p := problem.New(http.StatusConflict, "answer-not-kept",
			"The request was answered with status %d, but the answer was too large to be kept. It was not run again. "+
				"Use a new event ID to run it again.", known.Status)
		return answer{problem: forMessage(p, m.envelope), replayed: true}
	}
	return answer{status: known.Status, body: known.Body, replayed: true}
}

// notRun is the problem of a request that is neither run nor replayed.
func (m *message) notRun(why idempotency.Result) *problem.Problem {
	var p *problem.Problem
	switch why {
	case idempotency.Running:
		p = problem.New(http.StatusConflict, "still-running",
			"A request with this event ID runs. Repeat the request later to get its answer.").RetryAfter(retrySoon)
	case idempotency.Mismatch:
		p = problem.New(http.StatusUnprocessableEntity, keyReused,
			"This event ID belongs to a request with another body. Use a new event ID for a new request.").About(m.idField)
	default:
		p = problem.New(http.StatusServiceUnavailable, "limits-unavailable",
			"Redis is away, so it is not known whether this request ran before. Nothing was stored; repeat the request later.").
			RetryAfter(retrySoon)
	}
	return forMessage(p, m.envelope)
}
