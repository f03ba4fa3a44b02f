package pipeline

import (
	"cmp"
	"encoding/json"
	"slices"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"arrakis/pipeline/contract"
	"arrakis/shard"
	"arrakis/tenant"
)

// Message is what a handler gets. It must not be changed or kept after the
// handler has returned; its slices belong to the message.
type Message struct {
	// Envelope holds the IDs, the type and Data.
	contract.Envelope
	// Community is the tenant's, by which limits and metrics count: the config's communityId, or TenantKey where
	// there is none.
	Community string
	// Kind is what the message asks for.
	Kind contract.Kind
	// Tenant is whose message it is.
	Tenant *tenant.Tenant
	// RequestID follows a request through logs; the event ID if none was given.
	RequestID string
	// Subject is where the message was published.
	Subject string
	// Attempt counts deliveries from 1. Handlers see a message at least once.
	Attempt int
	// Body is the message as it came.
	Body []byte

	features func(*tenant.Tenant) []string
}

// Features returns the names of the tenant's features and of the feature flags
// that are on for it at this moment, sorted.
func (m *Message) Features() []string { return m.features(m.Tenant) }

// Feature reports whether name is among Features.
func (m *Message) Feature(name string) bool { return slices.Contains(m.Features(), name) }

// delivery is one message on its way through the stages. The stage that holds
// it owns it; putting it into the next queue gives it away for good.
type delivery struct {
	Message
	admission shard.Admission // what the limit stage asks and is answered

	// Set by decode, read-only then.
	metadata
	source   *source
	msg      jetstream.Msg
	headers  nats.Header // of msg, nil if it has none
	received time.Time   // when this process began to decode it

	// Set by the stage that decides how the message ends, read by the metrics
	// stage.
	disposition
	result  json.RawMessage
	latency time.Duration // from received to the handler's end; 0 if it was not handled

	// Owned by the fair queue, under its lock.
	next       *delivery
	inProgress time.Time // when JetStream was last told that it is in progress
}

// Admission makes a delivery a shard.Message.
func (d *delivery) Admission() *shard.Admission { return &d.admission }

// header returns the first value of a header, "" if there is none.
func (d *delivery) header(name string) string {
	if d.headers == nil {
		return ""
	}
	return d.headers.Get(name)
}

// replyTo is where the outcome goes, "" if nobody may be told.
func (d *delivery) replyTo() string {
	if to := d.header(contract.HeaderReplyTo); contract.ValidReplyTo(to) {
		return to
	}
	return ""
}

// requestID is the message's own, or its event ID. Only what is safe in a
// header is taken over.
func (d *delivery) requestID() string {
	if id := d.header(contract.HeaderRequestID); contract.ValidEventID(id) {
		return id
	}
	return d.EventID
}

// community is whom the message belongs to, for its sender and the log: the
// tenant's community, or what the message carries if it ended before its tenant
// was known.
func (d *delivery) community() string { return cmp.Or(d.Community, d.TenantKey) }

// outcome is what the sender is told.
func (d *delivery) outcome() contract.Outcome {
	o := contract.Outcome{
		EventID:   d.EventID,
		Community: d.community(),
		Status:    d.status,
		Result:    d.result,
		Error:     d.failure,
	}
	if d.Tenant != nil {
		o.Tier = string(d.Tenant.Tier)
	}
	if a := &d.admission; a.Limited && a.Tenant != nil {
		v := a.Verdict
		o.RateLimit = &contract.RateLimit{
			Action:       a.LimitedBy.String(),
			Limit:        v.Limit,
			Remaining:    v.Remaining,
			ResetMS:      contract.Milliseconds(v.ResetAfter),
			RetryAfterMS: contract.Milliseconds(v.RetryAfter),
		}
	}
	return o
}
