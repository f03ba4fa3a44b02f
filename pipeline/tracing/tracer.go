package tracing

import (
	"context"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"arrakis/pipeline/contract"
)

// DefaultPerSecond is the default of [Options.PerSecond].
const DefaultPerSecond = 100

// Options configures a [Tracer].
type Options struct {
	// Provider makes the spans. Defaults to none: nothing is recorded. What it does not sample is not recorded, so give it a
	// sampler that takes every span, and choose with Sampler.
	Provider trace.TracerProvider
	// Sampler decides which messages are recorded. Defaults to all but those whose sender says otherwise.
	Sampler Sampler
	// PerSecond bounds the traces that are started in a second, and those of others that are continued. Defaults to
	// DefaultPerSecond.
	PerSecond int
}

// Tracer decides which messages are recorded, and begins their spans. It is safe for concurrent use. A nil Tracer records
// nothing.
type Tracer struct {
	tracer  trace.Tracer
	sampler Sampler

	started   *rate // traces that begin here
	published *rate // traces of others, at the ingress
	processed *rate // traces of others, at the worker

	startedCount, continuedCount, overCount prometheus.Counter
}

// scope is the name of the instrumentation.
const scope = "arrakis/pipeline/tracing"

// New makes a tracer and registers its metrics, unless reg is nil. It returns nil if o has no provider.
func New(o Options, reg prometheus.Registerer) *Tracer {
	if o.Provider == nil {
		return nil
	}
	if o.PerSecond <= 0 {
		o.PerSecond = DefaultPerSecond
	}
	traces := promauto.With(reg).NewCounterVec(prometheus.CounterOpts{
		Name: "arrakis_traces_total",
		Help: "Messages that were sampled: recorded in a trace that began here or that another process has begun, or not recorded " +
			"because there were too many in that second.",
	}, []string{"result"})
	return &Tracer{
		tracer: o.Provider.Tracer(scope), sampler: o.Sampler,
		started: newRate(o.PerSecond), published: newRate(o.PerSecond), processed: newRate(o.PerSecond),
		startedCount: traces.WithLabelValues("started"), continuedCount: traces.WithLabelValues("continued"),
		overCount: traces.WithLabelValues("over_cap"),
	}
}

// Records reports whether a message is recorded that a worker has received at now. If so, the caller calls Process. It does
// not allocate.
func (t *Tracer) Records(h nats.Header, eventID string, now time.Time) bool {
	if t == nil {
		return false
	}
	parent := ParentOf(h)
	switch {
	case parent == "":
		return t.starts(eventID, now)
	case !t.sampler.ignoreParent && len(parent) >= parentLength && !sampledFlag(parent):
		return false // nearly all that have one: nobody looks whether the rest of it is valid
	case !ValidParent(parent):
		return t.starts(eventID, now)
	default:
		return t.continues(parent, eventID, t.processed, now)
	}
}

// starts reports whether a trace is started for a message.
func (t *Tracer) starts(eventID string, now time.Time) bool {
	return t.sampler.byID(eventID) && t.within(t.started, now)
}

// continues reports whether the trace of a valid parent is continued with a message.
func (t *Tracer) continues(parent, eventID string, limit *rate, now time.Time) bool {
	return t.sampler.byParent(parent, eventID) && t.within(limit, now)
}

func (t *Tracer) within(limit *rate, now time.Time) bool {
	if limit.allow(now) {
		return true
	}
	t.overCount.Inc()
	return false
}

// Process begins the recording of a message for which Records was true. The span has the name and begins at a time. Process
// returns nil if the provider does not sample it.
func (t *Tracer) Process(h nats.Header, name string, begins time.Time, attrs ...attribute.KeyValue) *Trace {
	return t.begin(SpanContext(ParentOf(h), StateOf(h)), name, trace.SpanKindConsumer, begins, attrs)
}

// Publication is what is known of a message that the ingress publishes.
type Publication struct {
	Destination string // the template of its subject
	EventID     string
	Community   string
	// Trusted says that the client's sampled flag counts. If it does not, the sampler decides as if there were none, and the
	// workers get that decision.
	Trusted bool
}

// Publish begins the recording of a message that is about to be published, whose headers hold the client's traceparent, if
// that is valid, and tracestate. It puts those of the span in their place. It returns nil if the message is not recorded. Then
// it takes the sampled flag from a traceparent that is not trusted, also while tracing is off.
func (t *Tracer) Publish(h nats.Header, p Publication) *Trace {
	parent := ParentOf(h)
	if tr := t.publish(h, parent, p); tr != nil {
		tr.Inject(h)
		return tr
	}
	if parent != "" && !p.Trusted {
		h[contract.HeaderTraceParent] = []string{Unsampled(parent)}
	}
	return nil
}

func (t *Tracer) publish(h nats.Header, parent string, p Publication) *Trace {
	if t == nil {
		return nil
	}
	now := time.Now()
	if parent != "" && p.Trusted {
		if !t.continues(parent, p.EventID, t.published, now) {
			return nil
		}
	} else if !t.starts(p.EventID, now) {
		return nil
	}
	return t.begin(SpanContext(parent, StateOf(h)), "publish "+p.Destination, trace.SpanKindProducer, now, []attribute.KeyValue{
		attribute.String("messaging.system", "nats"),
		attribute.String("messaging.operation.name", "publish"),
		attribute.String("messaging.destination.template", p.Destination),
		ID("messaging.message.id", p.EventID),
		ID("arrakis.community_id", p.Community),
	})
}

func (t *Tracer) begin(parent trace.SpanContext, name string, kind trace.SpanKind, at time.Time, attrs []attribute.KeyValue) *Trace {
	count, ctx := t.startedCount, context.Background()
	if parent.IsValid() {
		// Whether it is recorded has been decided; a sampler of the provider's may look at the parent.
		count, ctx = t.continuedCount, trace.ContextWithRemoteSpanContext(ctx, parent.WithTraceFlags(parent.TraceFlags()|trace.FlagsSampled))
	}
	_, span := t.tracer.Start(ctx, name, trace.WithSpanKind(kind), trace.WithTimestamp(at), trace.WithAttributes(attrs...))
	if !span.SpanContext().IsSampled() {
		span.End()
		return nil
	}
	count.Inc()
	return &Trace{tracer: t.tracer, span: span, last: at, continued: parent.IsValid()}
}

// ID is an attribute with a text from outside: cut, and a copy, so that a span does not keep the message in memory.
func ID(key, value string) attribute.KeyValue {
	const most = 256
	return attribute.String(key, strings.ToValidUTF8(strings.Clone(value[:min(len(value), most)]), "\uFFFD"))
}

// Trace is the recording of one message on its way through this process. One goroutine at a time may use it. Nil is a
// message that is not recorded.
type Trace struct {
	tracer    trace.Tracer
	span      trace.Span
	handler   trace.Span // while it runs; else nil
	last      time.Time  // the end of what was recorded last
	continued bool       // of a trace that another process has begun
}

// Continued reports whether the message came with its trace, and not without one.
func (t *Trace) Continued() bool { return t != nil && t.continued }

// TraceID is the ID of the trace, in hex.
func (t *Trace) TraceID() string {
	if t == nil {
		return ""
	}
	return t.span.SpanContext().TraceID().String()
}

// Inject puts the span of the message into headers, as the parent of what follows from the message. Names of NATS headers
// are case-sensitive: it leaves no other spelling beside its own.
func (t *Trace) Inject(h nats.Header) {
	delete(h, titleTraceParent)
	delete(h, titleTraceState)
	c := t.span.SpanContext()
	h[contract.HeaderTraceParent] = []string{format(c)}
	if state := c.TraceState().String(); state != "" {
		h[contract.HeaderTraceState] = []string{state}
	} else {
		delete(h, contract.HeaderTraceState)
	}
}

// Step records what the message has come through since the step before.
func (t *Trace) Step(name string, until time.Time, attrs ...attribute.KeyValue) {
	if t == nil {
		return
	}
	_, span := t.tracer.Start(t.in(context.Background()), name, trace.WithTimestamp(t.last), trace.WithAttributes(attrs...))
	span.End(trace.WithTimestamp(until))
	t.last = until
}

// Skip leaves out what the message has come through since the step before.
func (t *Trace) Skip(until time.Time) {
	if t != nil {
		t.last = until
	}
}

func (t *Trace) in(ctx context.Context) context.Context { return trace.ContextWithSpan(ctx, t.span) }

// BeginHandler begins the span of the handler. Remote says that it is in another process.
func (t *Trace) BeginHandler(name string, remote bool, at time.Time, attrs ...attribute.KeyValue) {
	if t == nil {
		return
	}
	kind := trace.SpanKindInternal
	if remote {
		kind = trace.SpanKindClient
	}
	_, t.handler = t.tracer.Start(t.in(context.Background()), name, trace.WithSpanKind(kind), trace.WithTimestamp(at), trace.WithAttributes(attrs...))
}

// HandlerContext returns ctx with the span of the handler.
func (t *Trace) HandlerContext(ctx context.Context) context.Context {
	if t == nil || t.handler == nil {
		return ctx
	}
	return trace.ContextWithSpan(ctx, t.handler)
}

// HandlerHeaders returns the traceparent and the tracestate of the handler's span. ok is false if there is none.
func (t *Trace) HandlerHeaders() (parent, state string, ok bool) {
	if t == nil || t.handler == nil {
		return "", "", false
	}
	c := t.handler.SpanContext()
	return format(c), c.TraceState().String(), true
}

// EndHandler ends the span of the handler. failure names the kind of its error, "" is none.
func (t *Trace) EndHandler(at time.Time, failure string) {
	if t == nil || t.handler == nil {
		return
	}
	fail(t.handler, failure)
	t.handler.End(trace.WithTimestamp(at))
	t.handler, t.last = nil, at
}

// End ends the recording of the message. failure names the kind of its error, "" is none. It may be called again, without
// effect.
func (t *Trace) End(at time.Time, failure string, attrs ...attribute.KeyValue) {
	if t == nil || !t.span.IsRecording() {
		return
	}
	t.EndHandler(at, failure)
	fail(t.span, failure)
	t.span.SetAttributes(attrs...)
	t.span.End(trace.WithTimestamp(at))
}

// fail marks a span as failed. The text of an error may quote a payload, so only its kind is recorded.
func fail(span trace.Span, failure string) {
	if failure != "" {
		span.SetAttributes(attribute.String("error.type", failure))
		span.SetStatus(codes.Error, failure)
	}
}
