package ingress

import (
	"cmp"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"arrakis/pipeline/contract"
	"arrakis/pipeline/http/body"
	"arrakis/pipeline/http/idempotency"
	"arrakis/pipeline/http/problem"
)

// message is the message that a request becomes.
type message struct {
	envelope contract.Envelope // complete, with event ID and type
	kind     contract.Kind
	idField  string // the member or header with the client's event ID; "" if the event ID was made up
	msg      *nats.Msg
	lane     bool              // msg goes straight into its community's lane
	mark     *idempotency.Mark // while the event ID is looked up; else nil
	trusted  bool              // the client has shown a certificate

	// The longest time that the request waits to be stored and to get its outcome, and the time for which the message says
	// that its sender waits.
	wait, senderWait time.Duration
}

// stream is the stream that keeps the message.
func (m *message) stream() string {
	if m.lane {
		return contract.StreamOverflow
	}
	return m.kind.Route().Stream
}

// repeatable reports whether the client gave the event ID, so that it can repeat the request.
func (m *message) repeatable() bool { return m.idField != "" }

// sendLess says what to do about a message that is too large.
const sendLess = "Send less in data, or a reference to it."

// messageRules are the rules for the bodies of messages.
func messageRules(maxBody int) body.Rules {
	return body.Rules{MaxBytes: maxBody, Types: []string{body.JSON}, Suffix: true, TooLarge: sendLess}
}

// newMessage makes a message of a request with the body data, or returns a problem. The message has no reply-to and no
// request ID yet.
func newMessage(r *http.Request, rt *route, data []byte) (_ *message, p *problem.Problem) {
	e, err := contract.DecodePartial(rt.Kind, data)
	if err != nil {
		return nil, decodeProblem(e, err)
	}
	if e.EventType == "" && rt.EventType == "" {
		return nil, forMessage(problem.Malformed("event_type", "is missing: expected a type such as member.join"), e)
	}
	idField := "event_id"
	var missing contract.Missing
	if e.EventID == "" {
		if e.EventID, idField, p = eventID(r.Header.Values(idempotencyKey)); p != nil {
			return nil, forMessage(p, e)
		}
		missing.EventID = e.EventID
	}
	if idField != "" && madeEventID(e.EventID) {
		return nil, forMessage(problem.New(http.StatusUnprocessableEntity, keyReused,
			"This event ID was made up by arrakis for a request that had none. Use an event ID of your own.").About(idField), e)
	}
	if e.EventType == "" {
		e.EventType = rt.EventType
		missing.EventType = e.EventType
	}
	m := &message{
		envelope: e, kind: rt.Kind, idField: idField,
		msg: &nats.Msg{Subject: rt.SubjectFor(&e), Header: make(nats.Header, 3), Data: missing.Add(data)},
	}
	m.copyTrace(r.Header)
	m.trusted = r.TLS != nil && len(r.TLS.VerifiedChains) > 0
	return m, nil
}

// setHeader sets a header under exactly this name, because the names of NATS headers are case-sensitive.
func (m *message) setHeader(name, value string) { m.msg.Header[name] = []string{value} }

// requestID is the request ID, once it is set.
func (m *message) requestID() string { return m.msg.Header.Get(contract.HeaderRequestID) }

// decodeProblem is the problem for a *contract.DecodeError.
func decodeProblem(e contract.Envelope, err error) *problem.Problem {
	var de *contract.DecodeError
	if !errors.As(err, &de) {
		return problem.Malformed("body", "%s", err.Error())
	}
	field := cmp.Or(de.Field, "body")
	p := problem.Malformed(field, "%s", de.Detail)
	if de.Reason == contract.ReasonNoCommunity {
		p = problem.New(http.StatusBadRequest, "no-community", "%s", de.Error()).About(field)
	}
	return forMessage(p, e)
}

// idempotencyKey is the header that may carry the event ID.
const idempotencyKey = "Idempotency-Key"

// eventID returns the event ID in the values of Idempotency-Key, which is bare or a quoted string without escapes, and
// the header's name. If the header is missing, eventID makes up an ID.
func eventID(values []string) (id, field string, p *problem.Problem) {
	if len(values) == 0 {
		return makeEventID(), "", nil
	}
	id = values[0]
	if len(id) >= 2 && id[0] == '"' && id[len(id)-1] == '"' {
		id = id[1 : len(id)-1]
		if strings.ContainsAny(id, `"\`) {
			id = ""
		}
	}
	if len(values) > 1 || !contract.ValidEventID(id) {
		return "", "", problem.Malformed(idempotencyKey, "expected one value of 1 to 128 visible ASCII characters")
	}
	return id, idempotencyKey, nil
}
