package rabbitmq

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nuid"
	amqp "github.com/rabbitmq/amqp091-go"

	"arrakis/pipeline/contract"
	"arrakis/pipeline/deadletter"
)

// mapped is what a delivery becomes: a message of a stream, or a dead letter.
type mapped struct {
	kind          contract.Kind
	envelope      contract.Envelope
	fromMessageID bool               // the event ID is that of AMQP
	msg           *nats.Msg          // nil for a dead letter
	letter        *deadletter.Record // nil for a message
}

// mapping maps the deliveries of a queue. It is pure and safe for concurrent use.
type mapping struct {
	queue string
	to    Destination
}

// mapped maps a delivery.
func (m mapping) mapped(d *amqp.Delivery) mapped {
	kind, e, err := m.decode(d.Body)
	if err != nil {
		var de *contract.DecodeError
		errors.As(err, &de) // there is no other error
		return m.dead(d, kind, e, de.Reason, withEncoding(d, de.Error()))
	}
	route := kind.Route()
	var missing contract.Missing
	if e.EventID == "" {
		if !contract.ValidEventID(d.MessageId) {
			return m.dead(d, kind, e, contract.ReasonMalformed,
				"event_id is missing, and so is message_id of AMQP with 1 to 128 visible ASCII characters: one of them must tell the message from others")
		}
		e.EventID, missing.EventID = d.MessageId, d.MessageId
	}
	if e.EventType == "" {
		if route.EventType == "" {
			return m.dead(d, kind, e, contract.ReasonMalformed, "event_type is missing: expected a type such as member.join")
		}
		e.EventType, missing.EventType = route.EventType, route.EventType
	}
	msg := &nats.Msg{Subject: route.SubjectFor(&e), Header: headersOf(m.queue, d), Data: missing.Add(d.Body)}
	msg.Header[jetstream.MsgIDHeader] = []string{messageID(&e, d)}
	msg.Header[jetstream.ExpectedStreamHeader] = []string{route.Stream}
	return mapped{kind: kind, envelope: e, fromMessageID: missing.EventID != "", msg: msg}
}

// messageID is what JetStream tells a message by that comes a second time. Event IDs are those of a tenant key, which has no
// slash. A message that Reverse has taken out of a stream is another one than it was there: JetStream remembers the message
// that it no longer has, and would drop this one as a duplicate. An event ID has no space.
func messageID(e *contract.Envelope, d *amqp.Delivery) string {
	id := e.TenantKey + "/" + e.EventID
	if place, ok := d.Headers[placeHeader].(string); ok {
		id += " " + contract.Clip(place, maxHeaderName)
	}
	return id
}

// decode reads the envelope as that of the kind that it says it is. After an error the envelope holds what was read before
// it.
func (m mapping) decode(body []byte) (contract.Kind, contract.Envelope, error) {
	kinds := m.to.kinds()
	e, err := contract.DecodePartial(kinds[0], body)
	if m.to == Eligibility && (e.CheckType == "community_sync" || isSync(e.EventType)) {
		return contract.KindSync, e, err // both kinds have the same envelope
	}
	return kinds[0], e, err
}

func isSync(eventType string) bool {
	t := contract.KindSync.Route().EventType
	return eventType == t || strings.HasPrefix(eventType, t+".")
}

// withEncoding adds to the cause why a body may not be JSON.
func withEncoding(d *amqp.Delivery, cause string) string {
	if d.ContentEncoding == "" || strings.EqualFold(d.ContentEncoding, "utf-8") || strings.EqualFold(d.ContentEncoding, "identity") {
		return cause
	}
	return fmt.Sprintf("%s; its content_encoding is %q, which is not undone", cause, contract.Clip(d.ContentEncoding, 32))
}

// smaller is what becomes of a message that NATS finds too large: one without the headers that AMQP gave it, and if it has
// none, a dead letter.
func (m mapping) smaller(d *amqp.Delivery, was mapped) mapped {
	if was.msg.Header.Get(headersCut) == allCut {
		cause := fmt.Sprintf("it has %d bytes, which is more than NATS takes", contract.Size(was.msg.Subject, was.msg.Header, was.msg.Data))
		return m.dead(d, was.kind, was.envelope, contract.ReasonMalformed, cause)
	}
	was.msg.Header = nats.Header{
		jetstream.MsgIDHeader: was.msg.Header[jetstream.MsgIDHeader], jetstream.ExpectedStreamHeader: was.msg.Header[jetstream.ExpectedStreamHeader],
		headersCut: {allCut},
	}
	return was
}

// dead is the dead letter for a delivery.
func (m mapping) dead(d *amqp.Delivery, kind contract.Kind, e contract.Envelope, reason contract.Reason, cause string) mapped {
	route := kind.Route()
	subject := route.Subject + ".rabbitmq" // whoever replays it gets the same dead letter from a worker
	if e.TenantKey != "" && e.EventType != "" && e.Name(kind) != "" {
		subject = route.SubjectFor(&e)
	}
	return mapped{kind: kind, envelope: e, letter: &deadletter.Record{
		ID: m.letterID(d), Stream: route.Stream, Subject: subject,
		Headers: headersOf(m.queue, d), Body: d.Body, Reason: reason, Cause: cause,
	}}
}

// letterID is the ID of a delivery's dead letter. One that has no message_id may be one of several that are equal. So each
// is kept, also if it is the same that has come again.
func (m mapping) letterID(d *amqp.Delivery) string {
	if d.MessageId == "" {
		return "rabbitmq/" + nuid.Next()
	}
	sum := sha256.Sum256([]byte(m.queue + "\x00" + d.MessageId + "\x00" + string(d.Body)))
	return "rabbitmq/" + hex.EncodeToString(sum[:16])
}
