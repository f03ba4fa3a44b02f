package ingress

import (
	"bytes"
	"errors"
	"io"
	"mime"
	"net/http"
	"os"
	"strconv"
	"strings"

	"github.com/nats-io/nats.go"

	"arrakis/pipeline/contract"
	"arrakis/pipeline/http/problem"
)

// message is a request on its way to JetStream.
type message struct {
	envelope contract.Envelope // with its event ID and type
	msg      *nats.Msg
}

// newMessage reads a request into a message, or says what is wrong with it.
// The message has no reply-to and no request ID yet.
func newMessage(w http.ResponseWriter, r *http.Request, rt *route, maxBody int) (*message, *problem.Problem) {
	if p := checkMedia(w.Header(), r); p != nil {
		return nil, p
	}
	body, err := readBody(w, r, maxBody)
	if err != nil {
		return nil, bodyProblem(err, maxBody)
	}
	e, err := contract.DecodePartial(rt.Kind, body)
	if err != nil {
		return nil, decodeProblem(e, err)
	}
	if e.EventType == "" && rt.EventType == "" {
		return nil, about(malformed("event_type", "is missing: expected a type such as member.join"), e)
	}
	var missing []byte // members, each followed by a comma
	if e.EventID == "" {
		id, ok := eventID(r.Header.Values(idempotencyKey))
		if !ok {
			return nil, about(malformed(idempotencyKey, "expected one value of 1 to 128 visible ASCII characters"), e)
		}
		e.EventID = id
		missing = appendMember(missing, "event_id", id)
	}
	if e.EventType == "" {
		e.EventType = rt.EventType
		missing = appendMember(missing, "event_type", e.EventType)
	}
	m := &message{envelope: e, msg: &nats.Msg{
		Subject: rt.SubjectFor(&e),
		Header:  make(nats.Header, 3),
		Data:    splice(body, missing),
	}}
	if parent := r.Header.Get(contract.HeaderTraceParent); validTraceParent(parent) {
		m.setHeader(contract.HeaderTraceParent, parent)
	}
	return m, nil
}

// setHeader sets a header as it is spelt: NATS headers know upper from lower case.
func (m *message) setHeader(name, value string) { m.msg.Header[name] = []string{value} }

// checkMedia accepts JSON, with parameters, as +json and unnamed; and no
// compression.
func checkMedia(h http.Header, r *http.Request) *problem.Problem {
	if v := r.Header.Get("Content-Encoding"); v != "" && !strings.EqualFold(v, "identity") {
		h.Set("Accept-Encoding", "identity")
		p := problem.New(http.StatusUnsupportedMediaType, "unsupported-media-type",
			"The body is encoded as %.64q. Send it as it is, without Content-Encoding.", v)
		p.Field = "Content-Encoding"
		return p
	}
	v := r.Header.Get("Content-Type")
	if v == "" || v == "application/json" {
		return nil
	}
	media, _, err := mime.ParseMediaType(v)
	if err == nil && (media == "application/json" || strings.HasPrefix(media, "application/") && strings.HasSuffix(media, "+json")) {
		return nil
	}
	h.Set("Accept", "application/json")
	p := problem.New(http.StatusUnsupportedMediaType, "unsupported-media-type",
		"The body is said to be %.64q. Send JSON with the header Content-Type: application/json.", v)
	p.Field = "Content-Type"
	return p
}

// discardMost is how much of a body is read beyond its limit: see discard.
const discardMost = 1 << 20

// readBody reads at most maxBody bytes. Its errors are *http.MaxBytesError, or
// those of the connection.
func readBody(w http.ResponseWriter, r *http.Request, maxBody int) ([]byte, error) {
	limit := int64(maxBody)
	if r.ContentLength > limit {
		if r.Header.Get("Expect") == "" { // who asks before sending has sent nothing
			discard(r)
		}
		return nil, &http.MaxBytesError{Limit: limit}
	}
	body := http.MaxBytesReader(w, r.Body, limit)
	if r.ContentLength < 0 { // chunked
		data, err := io.ReadAll(body)
		if err != nil {
			discard(r)
		}
		return data, err
	}
	data := make([]byte, r.ContentLength)
	_, err := io.ReadFull(body, data)
	return data, err
}

// discard reads on beyond the limit: a client that sends all before it looks
// for the answer finds the answer, and not a connection that was reset.
func discard(r *http.Request) {
	_, _ = io.CopyN(io.Discard, r.Body, discardMost) // the answer is the same, whatever comes
}

// bodyProblem says why a body could not be read.
func bodyProblem(err error, maxBody int) *problem.Problem {
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		p := problem.New(http.StatusRequestEntityTooLarge, "too-large",
			"The body is larger than %d bytes. Send less in data, or a reference to it.", maxBody)
		p.Field = "body"
		return p
	case errors.Is(err, os.ErrDeadlineExceeded):
		return problem.New(http.StatusRequestTimeout, "body-timed-out", "The body did not arrive in time. Repeat the request.")
	default:
		return malformed("body", "could not be read to its end")
	}
}

// decodeProblem turns a *contract.DecodeError into the problem.
func decodeProblem(e contract.Envelope, err error) *problem.Problem {
	var de *contract.DecodeError
	if !errors.As(err, &de) {
		return malformed("body", "%s", err.Error())
	}
	field := de.Field
	if field == "" {
		field = "body"
	}
	p := malformed(field, "%s", de.Detail)
	if de.Reason == contract.ReasonNoCommunity {
		p = problem.New(http.StatusBadRequest, "no-community", "%s", de.Error())
		p.Field = field
	}
	return about(p, e)
}

// malformed is a 400 for field, which the detail begins with.
func malformed(field, format string, args ...any) *problem.Problem {
	p := problem.New(http.StatusBadRequest, "malformed", field+": "+format, args...)
	p.Field = field
	return p
}

// idempotencyKey is the header that may carry the event ID.
const idempotencyKey = "Idempotency-Key"

// eventID takes the event ID from the values of Idempotency-Key, bare or as a
// quoted string without escapes, or makes one if there are none.
func eventID(values []string) (id string, ok bool) {
	if len(values) == 0 {
		return newUUID(), true
	}
	id = values[0]
	if len(id) >= 2 && id[0] == '"' && id[len(id)-1] == '"' {
		id = id[1 : len(id)-1]
		if strings.ContainsAny(id, `"\`) {
			return "", false
		}
	}
	return id, len(values) == 1 && contract.ValidEventID(id)
}

// appendMember appends "name":"value", to b. Both are visible ASCII, which Go
// quotes as JSON does.
func appendMember(b []byte, name, value string) []byte {
	b = strconv.AppendQuote(b, name)
	b = append(b, ':')
	b = strconv.AppendQuote(b, value)
	return append(b, ',')
}

// splice puts members right after the opening brace of body, an object with
// at least one member. body is not changed.
func splice(body, members []byte) []byte {
	if len(members) == 0 {
		return body
	}
	brace := bytes.IndexByte(body, '{') + 1
	out := make([]byte, 0, len(body)+len(members))
	out = append(out, body[:brace]...)
	out = append(out, members...)
	return append(out, body[brace:]...)
}
