package pipeline

import (
	"log/slog"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/attribute"

	"arrakis/pipeline/tracing"
)

// The spans of a delivery, in their order. The span of the delivery as a whole is "process" and the template of the subject,
// that of its handler "handle" and the kind. Neither names a community or a command: senders could make up any number.
const (
	spanQueue  = "queue"  // from when it was stored to decode
	spanLimit  = "limit"  // until its shard has decided
	spanTurn   = "turn"   // until a worker took it
	spanSettle = "settle" // from the handler's end, or the decision, until JetStream was told
)

// beginTrace begins the recording of d, which was received at now. If its trace begins here, d gets the headers of it, and
// keeps them wherever it is stored again.
func (d *delivery) beginTrace(t *tracing.Tracer, now time.Time) {
	begins := now
	first := d.delivered == 1 // otherwise it has not waited in the stream alone
	if stored := time.Unix(0, d.stored).Add(-d.source.clock()); first && stored.Before(now) {
		begins = stored
	}
	d.trace = t.Process(d.headers, "process "+d.Kind.Route().Filter(), begins)
	if d.trace == nil {
		return
	}
	if first {
		d.trace.Step(spanQueue, now)
	}
	if !d.trace.Continued() {
		if d.headers == nil {
			d.headers = nats.Header{}
		}
		d.trace.Inject(d.headers)
	}
}

// traceLimit records the shard's decision.
func (d *delivery) traceLimit(now time.Time) {
	a := &d.admission
	attrs := []attribute.KeyValue{attribute.Bool("arrakis.limit.allowed", a.Verdict.Allowed)}
	if a.Limited {
		v := &a.Verdict
		attrs = append(attrs,
			attribute.String("arrakis.limit.action", a.LimitedBy.String()),
			attribute.Int64("arrakis.limit.limit", v.Limit), attribute.Int64("arrakis.limit.remaining", v.Remaining),
			attribute.Bool("arrakis.limit.local", v.Local), attribute.Bool("arrakis.limit.degraded", v.Degraded))
	}
	d.trace.Step(spanLimit, now, attrs...)
}

// traceHandler begins the span of d's handler.
func (d *delivery) traceHandler(began time.Time) {
	d.trace.BeginHandler("handle "+d.Kind.String(), d.function == nil, began,
		tracing.ID("arrakis.name", d.Name(d.Kind)), attribute.Int("arrakis.attempt", d.Attempt))
}

// failureName names the kind of d's error, "" if there is none.
func (d *delivery) failureName() string {
	switch {
	case d.errorType != errorNone:
		return d.errorType.String()
	case d.settlement == nak && !d.delayed:
		return "given_back"
	default:
		return ""
	}
}

// endTrace ends the recording of d, which is settled. What d is asked for does not change any more.
func (d *delivery) endTrace(now time.Time) {
	d.trace.Step(spanSettle, now)
	attrs := []attribute.KeyValue{
		attribute.String("messaging.system", "nats"),
		attribute.String("messaging.operation.name", "process"),
		attribute.String("messaging.destination.template", d.Kind.Route().Filter()),
		attribute.String("messaging.consumer.group.name", d.source.consumer),
		tracing.ID("messaging.message.id", d.EventID),
		tracing.ID("arrakis.community_id", d.community()),
		attribute.String("arrakis.kind", d.Kind.String()),
		tracing.ID("arrakis.name", d.Name(d.Kind)),
		attribute.Int("arrakis.attempt", d.Attempt),
		attribute.String("arrakis.stream", d.source.stream),
		attribute.Int64("arrakis.stream_seq", int64(d.sequence)), //nolint:gosec // far below 9e18
		attribute.Int64("arrakis.delivered", int64(d.delivered)), //nolint:gosec // far below 9e18
		attribute.String("arrakis.end", d.endName()),
	}
	if d.Tenant != nil {
		attrs = append(attrs, attribute.String("arrakis.tier", string(d.Tenant.Tier)))
	}
	if d.settlement == term {
		attrs = append(attrs, attribute.String("arrakis.reason", string(d.reason)))
	}
	d.trace.End(now, d.failureName(), attrs...)
	d.trace = nil
}

// endName says how the delivery has ended: with a status of the message, or with what becomes of the message.
func (d *delivery) endName() string {
	switch d.settlement {
	case ack:
		return statusLabels[d.statusIndex()]
	case term:
		return "dead_letter"
	case carriedOn:
		return "stored_again" // in a lane, or to be tried again
	case untold:
		return "forgotten"
	case undecided, nak:
	}
	return "given_back"
}

// traceID is the ID of the trace that the message belongs to, recorded or not, for the log.
func (d *delivery) traceID() slog.LogValuer { return tracing.LogID(tracing.ParentOf(d.headers)) }

// exemplarLabel is the label of exemplars, as Grafana expects it.
const exemplarLabel = "trace_id"

// observe adds to a histogram. A recorded message becomes an exemplar.
func observe(o prometheus.Observer, d time.Duration, t *tracing.Trace) {
	if e, ok := o.(prometheus.ExemplarObserver); ok && t != nil {
		e.ObserveWithExemplar(d.Seconds(), prometheus.Labels{exemplarLabel: t.TraceID()})
		return
	}
	o.Observe(d.Seconds())
}

// exemplar is a recorded message in a bucket of a histogram.
type exemplar struct {
	traceID string
	seconds float64
	at      int64 // Unix ns
}

// withExemplars adds the exemplars to a histogram of c.
func (c *commandCounts) withExemplars(m prometheus.Metric) prometheus.Metric {
	var all []prometheus.Exemplar
	for _, e := range c.exemplars {
		if e.traceID != "" {
			all = append(all, prometheus.Exemplar{
				Value: e.seconds, Timestamp: time.Unix(0, e.at), Labels: prometheus.Labels{exemplarLabel: e.traceID},
			})
		}
	}
	if len(all) == 0 {
		return m
	}
	return prometheus.MustNewMetricWithExemplars(m, all...)
}
