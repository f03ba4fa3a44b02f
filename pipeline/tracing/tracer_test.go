package tracing

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"arrakis/pipeline/contract"
)

func newTracer(t *testing.T, sampler string, perSecond int) (*Tracer, *tracetest.SpanRecorder) {
	t.Helper()
	recorder := tracetest.NewSpanRecorder()
	s, err := ParseSampler(sampler, "")
	if err != nil {
		t.Fatal(err)
	}
	return New(Options{
		Provider: sdk.NewTracerProvider(sdk.WithSampler(sdk.AlwaysSample()), sdk.WithSpanProcessor(recorder)), Sampler: s, PerSecond: perSecond,
	}, prometheus.NewRegistry()), recorder
}

// A message that is not recorded costs no allocation: neither the question, nor any step on its way.
func TestUnsampledAllocatesNothing(t *testing.T) {
	now := time.Now()
	with := func(parent string) nats.Header {
		return nats.Header{"traceparent": {parent}, "tracestate": {"vendor=x"}, "Arrakis-Reply-To": {"_INBOX.x"}}
	}
	full, _ := newTracer(t, "", 1)
	for _, r := range []*rate{full.started, full.published, full.processed} {
		r.next.Store(int64(time.Hour))
	}
	off, _ := newTracer(t, "parentbased_always_off", 100)
	ratio, _ := newTracer(t, "parentbased_always_off", 100)
	ratio.sampler = Sampler{limited: true, bound: 1} // nearly none
	for _, tt := range []struct {
		name   string
		tracer *Tracer
		header nats.Header
	}{
		{"tracing is off", nil, with(sampled)},
		{"the sender does not record", off, with(silent)},
		{"no headers", off, nil},
		{"no traceparent", off, nats.Header{"X": {"y"}}},
		{"by a ratio", ratio, nil},
		{"not valid", off, with("00-zz-01")},
		{"over the cap", full, with(sampled)},
		{"over the cap, and without", full, nil},
	} {
		publication := Publication{Destination: "commands.>", EventID: "e", Community: "c", Trusted: true}
		if n := testing.AllocsPerRun(100, func() {
			if tt.tracer.Records(tt.header, "event-1", now) {
				t.Error("recorded")
			}
			if tt.tracer.Publish(tt.header, publication) != nil {
				t.Error("recorded")
			}
			var none *Trace
			none.Step("queue", now)
			none.BeginHandler("handle command", true, now)
			none.HandlerContext(context.Background())
			none.HandlerHeaders()
			none.EndHandler(now, "")
			none.End(now, "")
		}); n != 0 {
			t.Errorf("%s: %v allocations", tt.name, n)
		}
	}
}

// BenchmarkRecords is what a message costs that is not recorded.
//
//	go test -run - -bench Records ./pipeline/tracing
func BenchmarkRecords(b *testing.B) {
	now := time.Now()
	provider := sdk.NewTracerProvider()
	ratio := New(Options{Provider: provider, Sampler: Sampler{limited: true, bound: 1}}, nil)
	full := New(Options{Provider: provider}, nil)
	full.started.next.Store(int64(time.Hour))
	for _, bb := range []struct {
		name   string
		tracer *Tracer
		header nats.Header
	}{
		{"off", nil, nats.Header{"traceparent": {silent}}},
		{"unsampled", ratio, nats.Header{"traceparent": {silent}, "Arrakis-Reply-To": {"_INBOX.x"}}},
		{"no headers, by a ratio", ratio, nil},
		{"no traceparent, by a ratio", ratio, nats.Header{"Arrakis-Reply-To": {"_INBOX.x"}}},
		{"over the cap", full, nil},
	} {
		b.Run(bb.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				bb.tracer.Records(bb.header, "1b4e28ba-2fa1-41d2-883f-000000000001", now)
			}
		})
	}
}

// The flag of a client that is not trusted does not count: the sampler decides, and the workers get that decision. The trace
// stays the client's.
func TestUntrustedFlag(t *testing.T) {
	never, _ := newTracer(t, "parentbased_always_off", 100)
	for _, tr := range []*Tracer{never, nil} { // nil is a process that does not trace
		for trusted, want := range map[bool]string{false: silent, true: sampled} {
			h := nats.Header{"traceparent": {sampled}}
			if recorded := tr.Publish(h, Publication{Trusted: trusted}) != nil; recorded != (trusted && tr != nil) || !recorded && h.Get("traceparent") != want {
				t.Errorf("tracing %t, trusted %t: recorded %t, published with %q", tr != nil, trusted, recorded, h.Get("traceparent"))
			}
		}
	}
	on, recorder := newTracer(t, "", 100)
	h := nats.Header{"traceparent": {silent}, "tracestate": {"vendor=x"}}
	tr := on.Publish(h, Publication{Destination: "commands.>"})
	if tr == nil {
		t.Fatal("not recorded")
	}
	tr.End(time.Now(), "")
	span := recorder.Ended()[0]
	if span.SpanContext().TraceID().String() != traceID || span.Parent().SpanID().String() != spanID {
		t.Errorf("not a part of the client's trace: %v", span.Parent())
	}
	if got := h.Get("traceparent"); got != format(span.SpanContext()) || !sampledFlag(got) || h.Get("tracestate") != "vendor=x" {
		t.Errorf("published with %q, %q", got, h.Get("tracestate"))
	}
}

// A share is chosen by the event ID, at the ingress and at every worker: no trace lacks its other half.
func TestShareIsOneChoice(t *testing.T) {
	for _, sampler := range []string{"traceidratio", "parentbased_traceidratio"} {
		for name, parent := range map[string]string{"without a traceparent": "", "of a client's trace": silent} {
			tracer, _ := newTracer(t, sampler, 1_000)
			tracer.sampler.limited, tracer.sampler.bound = true, 1<<62 // a half
			recorded := 0
			for i := range 200 {
				id, h := fmt.Sprintf("event-%d", i), nats.Header{}
				if parent != "" {
					h["traceparent"] = []string{parent}
				}
				published := tracer.Publish(h, Publication{EventID: id}) != nil
				if tracer.Records(h, id, time.Now()) != published {
					t.Fatalf("%s, %s: published as recorded %v, and the worker has chosen otherwise", sampler, name, published)
				}
				if published {
					recorded++
				}
			}
			if recorded < 50 || recorded > 150 {
				t.Errorf("%s, %s: %d of 200", sampler, name, recorded)
			}
		}
	}
}

// The traces of others have a cap of their own, so that a flood of them leaves room for those that begin here.
func TestCap(t *testing.T) {
	tracer, _ := newTracer(t, "", 5)
	now := time.Now()
	count := func(h nats.Header) (n int) {
		for range 100 {
			if tracer.Records(h, "e", now) {
				n++
			}
		}
		return n
	}
	if n := count(nats.Header{"traceparent": {sampled}}); n != 5 {
		t.Errorf("%d continued", n)
	}
	if n := count(nil); n != 5 {
		t.Errorf("%d started", n)
	}
	if n := testutil.ToFloat64(tracer.overCount); n != 190 {
		t.Errorf("%v counted over the cap", n)
	}
}

// What comes from outside is cut, is a copy, and is text.
func TestID(t *testing.T) {
	if got := ID("k", strings.Repeat("x", 10_000)).Value.AsString(); len(got) != 256 {
		t.Errorf("%d bytes", len(got))
	}
	if got := ID("k", "a\xffb").Value.AsString(); got != "a\uFFFDb" {
		t.Errorf("%q", got)
	}
}

// A message that is stored again has one traceparent, also if its sender wrote another spelling.
func TestInject(t *testing.T) {
	tracer, _ := newTracer(t, "", 5)
	h := nats.Header{"Traceparent": {sampled}, "Tracestate": {"vendor=x"}}
	tr := tracer.Process(h, "process commands.>", time.Now())
	tr.Inject(h)
	if len(h) != 2 || !ValidParent(h.Get(contract.HeaderTraceParent)) || h.Get(contract.HeaderTraceState) != "vendor=x" {
		t.Errorf("%v", h)
	}
	if id := TraceID(h.Get(contract.HeaderTraceParent)); id != traceID || tr.TraceID() != traceID || !tr.Continued() {
		t.Errorf("trace %s, %s", id, tr.TraceID())
	}
}

// A provider may have a sampler of its own.
func TestProviderThatDoesNotSample(t *testing.T) {
	tracer := New(Options{Provider: sdk.NewTracerProvider(sdk.WithSampler(sdk.NeverSample()))}, nil)
	if tr := tracer.Process(nil, "process commands.>", time.Now()); tr != nil {
		t.Error("recorded")
	}
}
