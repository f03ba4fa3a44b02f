package pipeline

import (
	"cmp"
	"encoding/json"
	"slices"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.opentelemetry.io/otel/trace"

	"arrakis/limiter"
	"arrakis/pipeline/contract"
	"arrakis/pipeline/deadletter"
	"arrakis/pipeline/tracing"
	"arrakis/shard"
	"arrakis/tenant"
)

// Message is the argument of a handler. A handler must not change it or its slices, and must not keep them after it has
// returned.
type Message struct {
	// Envelope holds the IDs, the type and Data.
	contract.Envelope
	// Community is the tenant's ID, under which limits and metrics are counted: the config's communityId, or TenantKey
	// if the config has none.
	Community string
	// Kind is the kind of the message.
	Kind contract.Kind
	// Tenant is the tenant of the message.
	Tenant *tenant.Tenant
	// RequestID identifies the request in logs. It is the event ID if the request gave none.
	RequestID string
	// Subject is the subject that the message was published to.
	Subject string
	// Attempt counts the attempts to handle the message from 1. An earlier one is a handler that ran and failed, or a
	// process that died while its handler ran; see package attempts.
	Attempt int
	// Body is the message as it was published.
	Body []byte

	features func(*tenant.Tenant) []string
	progress *progress   // nil, unless the message is an interaction whose handler runs or has run
	headers  nats.Header // as it was published with, and what decode has added; nil if there are none
}

// Features returns the names of the tenant's features and of the feature flags that are on for the tenant at this
// moment, sorted.
func (m *Message) Features() []string { return m.features(m.Tenant) }

// Feature reports whether name is among Features.
func (m *Message) Feature(name string) bool { return slices.Contains(m.Features(), name) }

// SpanContext is the span that the message's headers traceparent and tracestate name; it may not be valid. The context of a
// handler has a span, the handler's own, only if the message is recorded: to put others' contexts there would cost every
// message. So a handler that makes requests for a message that is not recorded passes this on.
func (m *Message) SpanContext() trace.SpanContext {
	return tracing.SpanContext(tracing.ParentOf(m.headers), tracing.StateOf(m.headers))
}

// delivery is one message on its way through the stages. One stage owns it at a time. A stage that puts it into the
// next queue gives up ownership for good.
type delivery struct {
	Message
	admission shard.Admission // what the limit stage asks of the shard, and the shard's answer

	// Set by decode, read-only then.
	position // of the message in the stream that it was read from
	origin   origin
	failed   int    // attempts that had failed before the message was stored again, as a carried message
	before   uint64 // deliveries before that; 0 if the message is not a carried one
	source   *source
	msg      jetstream.Msg
	received time.Time      // when this process began to decode the message
	trace    *tracing.Trace // nil if the message is not recorded, and once it has been

	// Small fields stand together, so that a delivery fits into an allocation of 896 bytes, 8 of which are not its own.
	size       uint32 // as the intake counts it, in bytes; set by decode
	reconnects uint32 // how often the connection to NATS had been made again then; set by decode
	known      uint16 // number of the name, 0 if it was not among the known ones before; set by services.send
	remote     bool   // a worker only sends it to a micro service, and asks nobody about its attempts; set by the limit stage
	counted    bool   // this attempt is written down in Redis; set by the attempt counter, see there
	wasOverdue bool   // an ack wait has passed without word to JetStream: another process may have the message; as told
	lateTurn   bool   // it was overdue when its turn came, and JetStream delivers it again; written by the fair queue
	unsettled  bool   // it counts as running until it is settled, see handleStage.pass; written by the fair queue
	discord    bool   // arrakis sends its answer to Discord, see isInteraction; set by decode
	unmovable  bool   // no lane can take it, with the headers that it has there; set by the writer of lanes
	// maxAttempts is after how many attempts the message becomes a dead letter; endless: no attempt is the last. Set by the
	// attempt counter.
	maxAttempts int32

	// Set by the limit stage for an admitted message, read-only then.
	function Handler // registered for it; nil if it is for a micro service

	// Set by the stage that decides how the message ends, read by the metrics stage.
	disposition
	result  json.RawMessage
	latency time.Duration // from received to the handler's end; 0 if no handler ran

	// Owned by the fair queue, under its lock.
	next, previous *delivery // previous is set while it runs
	backlog        *backlog
	charged        time.Duration // for the handler's time, when it started
	told           time.Duration // from received to when JetStream was last told that the message is in progress
	arrival        uint64        // its number among all that were put
	began          time.Duration // from received to when its turn came
	waited         time.Duration // from when it was stored to its handler's start; 0 unless it is fresh
}

// Admission makes a delivery a shard.Message.
func (d *delivery) Admission() *shard.Admission { return &d.admission }

// header returns the first value of a header, or "".
func (d *delivery) header(name string) string {
	if d.headers == nil {
		return ""
	}
	return d.headers.Get(name)
}

// replay names the dead letter that the message was replayed from. It is "" if it was not.
func (d *delivery) replay() string {
	if replay := d.header(contract.HeaderReplay); replay != "" && deadletter.IsReplay(replay) { // an error costs memory
		return replay
	}
	return ""
}

// replayToEnd is replay, but "" for a message that was read from a lane: its replay was ended when it was moved there.
func (d *delivery) replayToEnd() string {
	if d.source.lane {
		return ""
	}
	return d.replay()
}

// expired reports whether d is a command and older at now than its time to live. ttl 0 is never.
func (d *delivery) expired(ttl time.Duration, now time.Time) bool {
	return ttl > 0 && d.Kind == contract.KindCommand && d.source.age(d.origin.stored(), now) > ttl
}

// replyTo is the subject to publish the outcome to. It is "" if the message names no valid one.
func (d *delivery) replyTo() string {
	if to := d.header(contract.HeaderReplyTo); contract.ValidReplyTo(to) {
		return to
	}
	return ""
}

// awaited reports whether somebody waits for the outcome: whoever has named a reply-to, or the user of an interaction.
func (d *delivery) awaited() bool { return d.discord || d.replyTo() != "" }

// requestID is the message's own request ID, or its event ID. A request ID that is not safe in a header is ignored.
func (d *delivery) requestID() string {
	if id := d.header(contract.HeaderRequestID); contract.ValidEventID(id) {
		return id
	}
	return d.EventID
}

// community is the ID shown to the sender and in the log: the tenant's ID, or the tenant key of a message that ended
// before its tenant was known.
func (d *delivery) community() string { return cmp.Or(d.Community, d.TenantKey) }

// outcome is the outcome that the sender gets.
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
	switch a := &d.admission; {
	case !a.Limited || a.Tenant == nil:
	case a.Shadowed || a.Tenant.Shadow: // the sender sees no limit, as if there were none
		o.RateLimit = &contract.RateLimit{Action: a.Action.String(), Limit: limiter.Unlimited, Remaining: limiter.Unlimited}
	default:
		v := &a.Verdict
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
