package worker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"
	"go.opentelemetry.io/otel/trace"

	"arrakis/loadtest/testserver"
	"arrakis/pipeline"
	"arrakis/pipeline/contract"
	"arrakis/pipeline/tracing"
	"arrakis/pipeline/tracing/otlp"
	"arrakis/tenant"
)

const (
	clientTrace = "0af7651916cd43dd8448eb211c80319c"
	clientSpan  = "b7ad6b7169203331"
	sampled     = "00-" + clientTrace + "-" + clientSpan + "-01"
)

// traced is a worker whose traces go to a collector, by OTLP over HTTP.
type traced struct {
	*Worker
	t         *testing.T
	collector *testserver.Collector
	provider  interface {
		ForceFlush(ctx context.Context) error
	}
	url string // of the ingress
}

// runTraced makes a worker that records all it may, and runs it.
func runTraced(t *testing.T, handlers *pipeline.Handlers, change func(*Options)) *traced {
	t.Helper()
	b := &traced{t: t, collector: testserver.StartCollector(t)}
	provider, err := otlp.New(t.Context(), otlp.Options{Endpoint: b.collector.URL(), Service: "arrakis", Version: "1"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), testserver.Patience)
		defer cancel()
		_ = provider.Shutdown(ctx) // what is lost is seen by the tests
	})
	l := listen(t)
	o := Options{
		HTTP: l, Handlers: handlers, Traces: tracing.Options{Provider: provider, PerSecond: 1_000},
		Logger: slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn})), RetryBackoff: []time.Duration{time.Second},
	}
	if change != nil {
		change(&o)
	}
	b.provider, b.url = provider, "http://"+l.Addr().String()
	b.Worker = newWorker(t, o)
	b.runReady(t)
	return b
}

// post sends a command and returns the status of the answer.
func (b *traced) post(body string, headers ...string) int {
	b.t.Helper()
	r, err := http.NewRequestWithContext(b.t.Context(), http.MethodPost, b.url+"/v1/commands", strings.NewReader(body))
	if err != nil {
		b.t.Fatal(err)
	}
	r.Close = true
	r.Header.Set("Content-Type", "application/json")
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		b.t.Fatal(err)
	}
	defer resp.Body.Close() //nolint:errcheck // only read
	_, _ = io.Copy(io.Discard, resp.Body)
	return resp.StatusCode
}

// ended waits until n messages have ended their process spans, and returns all spans.
func (b *traced) ended(n int) []testserver.Span {
	b.t.Helper()
	var spans []testserver.Span
	defer func() {
		if b.t.Failed() {
			b.t.Log(names(spans))
		}
	}()
	testserver.Eventually(b.t, fmt.Sprintf("%d process spans have come", n), func() bool {
		if err := b.provider.ForceFlush(b.t.Context()); err != nil {
			b.t.Fatal(err)
		}
		spans = b.collector.Spans()
		return len(named(spans, "process commands.>")) >= n
	})
	return spans
}

func named(spans []testserver.Span, name string) []testserver.Span {
	return slices.DeleteFunc(slices.Clone(spans), func(s testserver.Span) bool { return s.Name != name })
}

// one returns the only span of a name.
func one(t *testing.T, spans []testserver.Span, name string) testserver.Span {
	t.Helper()
	all := named(spans, name)
	if len(all) != 1 {
		t.Fatalf("%d spans %q in %v", len(all), name, names(spans))
	}
	return all[0]
}

func names(spans []testserver.Span) (all []string) {
	for _, s := range spans {
		all = append(all, s.Name)
	}
	return all
}

const ping = `{"event_id":"e-1","event_type":"interaction.create","guild_id":"comm_1","data":{"command_name":"ping","options":{"secret":"MARKpayload"}}}`

// One command through the ingress is one trace, the client's: each part says how long it took, and follows from the one
// before.
func TestTraceOfACommand(t *testing.T) {
	handlers := pipeline.NewHandlers()
	var seen trace.SpanContext
	handlers.Command("ping", func(ctx context.Context, _ *pipeline.Message) (any, error) {
		seen = trace.SpanContextFromContext(ctx)
		return nil, errors.New("MARKerror")
	})
	handlers.Command("pong", func(context.Context, *pipeline.Message) (any, error) { return "MARKresult", nil })
	b := runTraced(t, handlers, func(o *Options) { o.MaxAttempts = 1 })
	if code := b.post(strings.Replace(ping, "ping", "pong", 1), "traceparent", sampled, "tracestate", "vendor=x"); code != http.StatusOK {
		t.Fatal(code)
	}
	spans := b.ended(1)
	if len(spans) != 7 {
		t.Errorf("spans %v, want 7", names(spans))
	}
	publish, process := one(t, spans, "publish commands.>"), one(t, spans, "process commands.>")
	if publish.ParentID != clientSpan || process.ParentID != publish.SpanID {
		t.Errorf("publish is a child of %s, process of %s", publish.ParentID, process.ParentID)
	}
	if publish.Kind != "SPAN_KIND_PRODUCER" || process.Kind != "SPAN_KIND_CONSUMER" {
		t.Errorf("kinds %s, %s", publish.Kind, process.Kind)
	}
	last := process.Start
	for _, name := range []string{"queue", "limit", "turn", "handle command", "settle"} {
		s := one(t, spans, name)
		if s.ParentID != process.SpanID || s.Start.Before(last) || s.End.Before(s.Start) || s.End.After(process.End) {
			t.Errorf("%s: %+v, after %v in %+v", name, s, last, process)
		}
		last = s.End
	}
	for key, want := range map[string]string{
		"arrakis.community_id": "comm_1", "arrakis.name": "pong", "arrakis.tier": "free", "arrakis.end": "success",
		"messaging.message.id": "e-1", "arrakis.attempt": "1", "messaging.consumer.group.name": "command-worker",
	} {
		if got := process.Attributes[key]; got != want {
			t.Errorf("%s = %q, want %q", key, got, want)
		}
	}
	if limit := one(t, spans, "limit").Attributes; limit["arrakis.limit.limit"] != "10" || limit["arrakis.limit.remaining"] != "9" {
		t.Errorf("limit: %v", limit)
	}
	if code := b.post(strings.Replace(ping, "e-1", "e-2", 1)); code != http.StatusBadGateway {
		t.Errorf("a failing handler: %d", code)
	}
	all := b.ended(2)
	b.checkTexts(all)
	second := slices.DeleteFunc(slices.Clone(all), func(s testserver.Span) bool { return s.TraceID == clientTrace })
	handle := one(t, second, "handle command")
	if !handle.Failed || handle.Attributes["error.type"] != "handler_error" || seen.SpanID().String() != handle.SpanID {
		t.Errorf("%+v; the handler saw %v", handle, seen.SpanID())
	}
	if root := one(t, second, "publish commands.>"); root.ParentID != "" || root.TraceID != handle.TraceID {
		t.Errorf("without a traceparent: %+v", root)
	}
	if end := one(t, second, "process commands.>"); end.Attributes["arrakis.reason"] != "attempts_exhausted" || !end.Failed {
		t.Errorf("%+v", end)
	}
}

// checkTexts: no span's name has what senders may make up, and no span has a payload, a result or the text of an error.
func (b *traced) checkTexts(spans []testserver.Span) {
	b.t.Helper()
	for _, s := range spans {
		if text := fmt.Sprintf("%+v", s); strings.Contains(text, "MARK") {
			b.t.Errorf("a span tells %s", text)
		}
		if strings.Contains(s.Name, "comm_1") || strings.Contains(s.Name, "p.ng") || s.Service != "arrakis" {
			b.t.Errorf("name %q of service %q", s.Name, s.Service)
		}
	}
}

// The trace of a publisher on NATS goes on, however it spells the header, and through a micro service.
func TestTraceThroughNATS(t *testing.T) {
	b := runTraced(t, nil, nil)
	requests := make(chan micro.Headers, 4)
	service, err := micro.AddService(b.o.NATS, micro.Config{Name: "ping", Version: "1.0.0", Endpoint: &micro.EndpointConfig{
		Subject: "handlers.command.ping", Handler: micro.HandlerFunc(func(r micro.Request) { requests <- r.Headers(); _ = r.Respond(nil) }),
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer service.Stop() //nolint:errcheck // the connection ends with the test
	js := testserver.JetStream(t, b.o.NATS)
	for i, header := range []string{"traceparent", "Traceparent"} {
		msg := &nats.Msg{
			Subject: "commands.interaction", Data: []byte(strings.Replace(ping, "e-1", fmt.Sprint("n-", i), 1)),
			Header: nats.Header{header: {sampled}, "tracestate": {"vendor=x"}},
		}
		if _, err := js.PublishMsg(t.Context(), msg); err != nil {
			t.Fatal(err)
		}
		h := receive(t, requests)
		spans := b.ended(i + 1)
		handle := named(spans, "handle command")[i]
		process := named(spans, "process commands.>")[i]
		if process.ParentID != clientSpan || process.TraceID != clientTrace || handle.ParentID != process.SpanID || handle.Kind != "SPAN_KIND_CLIENT" {
			t.Errorf("%s: %+v, %+v", header, process, handle)
		}
		if got, want := h.Get("traceparent"), "00-"+clientTrace+"-"+handle.SpanID+"-01"; got != want || h.Get("tracestate") != "vendor=x" {
			t.Errorf("%s: the service got %q, %q, want %q", header, got, h.Get("tracestate"), want)
		}
	}
	// Not recorded: the service gets what the publisher sent.
	silent := sampled[:54] + "0"
	msg := &nats.Msg{Subject: "commands.interaction", Data: []byte(strings.Replace(ping, "e-1", "n-9", 1)), Header: nats.Header{"traceparent": {silent}}}
	if _, err := js.PublishMsg(t.Context(), msg); err != nil {
		t.Fatal(err)
	}
	if h := receive(t, requests); h.Get("traceparent") != silent || h.Get("tracestate") != "" {
		t.Errorf("the service got %v", h)
	}
}

func receive(t *testing.T, requests <-chan micro.Headers) micro.Headers {
	t.Helper()
	select {
	case h := <-requests:
		return h
	case <-time.After(testserver.Patience):
		t.Fatal("the service was not asked")
		return nil
	}
}

// A message that is tried again keeps its trace, also one that began here: each attempt is a process span.
func TestTraceOfRetries(t *testing.T) {
	t.Parallel()
	for name, parent := range map[string]string{"the publisher's trace": sampled, "a trace that begins here": ""} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var attempts atomic.Int32
			handlers := pipeline.NewHandlers()
			handlers.Command("ping", func(context.Context, *pipeline.Message) (any, error) {
				if attempts.Add(1) < 3 {
					return nil, errors.New("not yet")
				}
				return nil, nil
			})
			b := runTraced(t, handlers, nil)
			msg := &nats.Msg{Subject: "commands.interaction", Data: []byte(ping), Header: nats.Header{}}
			if parent != "" {
				msg.Header["traceparent"] = []string{parent}
			}
			if _, err := testserver.JetStream(t, b.o.NATS).PublishMsg(t.Context(), msg); err != nil {
				t.Fatal(err)
			}
			spans := b.ended(3)
			root := clientSpan
			for i, s := range named(spans, "process commands.>") {
				if parent == "" && i == 0 {
					root = s.SpanID
				} else if s.ParentID != root {
					t.Errorf("attempt %d is a child of %s, want %s", i+1, s.ParentID, root)
				}
				end := []string{"stored_again", "stored_again", "success"}[i]
				if s.TraceID != spans[0].TraceID || s.Attributes["arrakis.attempt"] != fmt.Sprint(i+1) || s.Attributes["arrakis.end"] != end {
					t.Errorf("attempt %d: %+v", i+1, s)
				}
				if failure := []string{"handler_error", "handler_error", ""}[i]; s.Attributes["error.type"] != failure {
					t.Errorf("attempt %d has the error %q, want %q", i+1, s.Attributes["error.type"], failure)
				}
			}
			if n := len(named(spans, "handle command")); n != 3 {
				t.Errorf("%d handlers", n)
			}
		})
	}
}

// A message that waits in a lane keeps its trace: it is stored again, and its second delivery has what it still comes through.
func TestTraceThroughALane(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	handlers := pipeline.NewHandlers()
	handlers.Command("ping", func(ctx context.Context, _ *pipeline.Message) (any, error) {
		select {
		case <-release:
		case <-ctx.Done():
		}
		return nil, nil
	})
	b := runTraced(t, handlers, func(o *Options) { o.HandlerConcurrency, o.HandlerTimeout = 4, testserver.Patience })
	if _, _, err := b.tenants.UpgradeTier(t.Context(), "comm_1", tenant.Enterprise); err != nil {
		t.Fatal(err)
	}
	js := testserver.JetStream(t, b.o.NATS)
	sent := 0
	send := func() {
		sent++
		msg := &nats.Msg{
			Subject: "commands.interaction", Data: []byte(strings.Replace(ping, "e-1", fmt.Sprint("w-", sent), 1)),
			Header: nats.Header{"traceparent": {fmt.Sprintf("00-%032x-%s-01", sent, clientSpan)}},
		}
		if _, err := js.PublishMsg(t.Context(), msg); err != nil {
			t.Fatal(err)
		}
	}
	moved := func() []testserver.Span {
		if err := b.provider.ForceFlush(t.Context()); err != nil {
			t.Fatal(err)
		}
		return slices.DeleteFunc(b.collector.Spans(), func(s testserver.Span) bool { return s.Attributes["arrakis.end"] != "stored_again" })
	}
	testserver.Eventually(t, "a message is in a lane", func() bool {
		if sent < 200 {
			send()
		}
		return len(moved()) > 0
	})
	first := moved()[0]
	close(release)
	var second testserver.Span
	testserver.Eventually(t, "it comes back", func() bool {
		if err := b.provider.ForceFlush(t.Context()); err != nil {
			t.Fatal(err)
		}
		for _, s := range b.collector.Trace(first.TraceID) {
			if s.Attributes["arrakis.end"] == "success" {
				second = s
				return true
			}
		}
		return false
	})
	if first.ParentID != clientSpan || second.ParentID != clientSpan || second.Attributes["arrakis.stream"] != contract.StreamOverflow {
		t.Errorf("%+v, and then %+v", first, second)
	}
	if spans := b.collector.Trace(first.TraceID); len(named(spans, "handle command")) != 1 || len(named(spans, "queue")) != 2 {
		t.Errorf("%v", names(spans))
	}
}

// Headers that are not what W3C says harm nobody: the message is handled, in a trace of its own or without the state.
func TestHostileTraceHeaders(t *testing.T) {
	handlers := pipeline.NewHandlers()
	var handled atomic.Int32
	handlers.Command("ping", func(context.Context, *pipeline.Message) (any, error) { handled.Add(1); return nil, nil })
	b := runTraced(t, handlers, nil)
	js := testserver.JetStream(t, b.o.NATS)
	hostile := []nats.Header{
		{"traceparent": {"00-" + strings.Repeat("z", 32) + "-" + clientSpan + "-01"}},
		{"traceparent": {strings.Repeat("1", 5_000)}},
		{"traceparent": {"00-00000000000000000000000000000000-0000000000000000-01"}},
		{"traceparent": {"\xff\xfe\x00-01"}, "tracestate": {strings.Repeat("a=1,", 5_000)}},
		{"traceparent": {"", sampled}},
		{"traceparent": {sampled}, "tracestate": {strings.Repeat("x", 10_000)}},
		{"traceparent": {sampled}, "tracestate": {"a=\x01"}},
	}
	for i, h := range hostile {
		data := []byte(strings.NewReplacer("e-1", fmt.Sprint("h-", i), "comm_1", fmt.Sprint("comm_h", i)).Replace(ping))
		if _, err := js.PublishMsg(t.Context(), &nats.Msg{Subject: "commands.interaction", Data: data, Header: h}); err != nil {
			t.Fatal(err)
		}
	}
	spans := named(b.ended(len(hostile)), "process commands.>")
	mine := 0
	for _, s := range spans {
		if s.TraceID == clientTrace {
			mine++
		}
		if s.State != "" || s.Attributes["arrakis.end"] != "success" {
			t.Errorf("%+v", s)
		}
	}
	if mine != 2 || int(handled.Load()) != len(hostile) {
		t.Errorf("%d in the publisher's trace, %d handled", mine, handled.Load())
	}
}

// A command that is too old when its turn comes has no handler in its trace, which says why.
func TestTraceOfAnExpiredCommand(t *testing.T) {
	t.Parallel()
	const ttl = 4 * time.Second // enough for the first one to be handled on a slow machine
	handlers := pipeline.NewHandlers()
	handlers.Command("ping", func(context.Context, *pipeline.Message) (any, error) {
		<-time.After(ttl + ttl/2) // the second command was stored at the same time as this one, and waits meanwhile
		return nil, nil
	})
	b := runTraced(t, handlers, func(o *Options) { o.CommandTTL, o.TenantConcurrency = ttl, 1 })
	js := testserver.JetStream(t, b.o.NATS)
	for i := range 2 {
		body := strings.Replace(ping, "e-1", fmt.Sprint("x-", i), 1)
		if _, err := js.PublishMsg(t.Context(), &nats.Msg{Subject: "commands.interaction", Data: []byte(body), Header: nats.Header{"traceparent": {sampled}}}); err != nil {
			t.Fatal(err)
		}
	}
	spans := b.ended(2)
	last := named(spans, "process commands.>")[1]
	if last.Attributes["arrakis.end"] != "expired" || last.Attributes["error.type"] != "expired" || len(named(spans, "handle command")) != 1 {
		t.Errorf("%v: %+v", names(spans), last)
	}
}

// A message that is refused or malformed has a trace that says so.
func TestTraceOfWhatIsNotHandled(t *testing.T) {
	handlers := pipeline.NewHandlers()
	handlers.Command("ping", func(context.Context, *pipeline.Message) (any, error) { return nil, nil })
	b := runTraced(t, handlers, nil)
	for i := range 11 {
		b.post(strings.Replace(ping, "e-1", fmt.Sprint("l-", i), 1))
	}
	js := testserver.JetStream(t, b.o.NATS)
	if _, err := js.PublishMsg(t.Context(), &nats.Msg{Subject: "commands.interaction", Data: []byte("{MARK"), Header: nats.Header{"traceparent": {sampled}}}); err != nil {
		t.Fatal(err)
	}
	spans := b.ended(12)
	b.checkTexts(spans)
	ends := map[string]int{}
	for _, s := range named(spans, "process commands.>") {
		ends[s.Attributes["arrakis.end"]+s.Attributes["arrakis.reason"]]++
	}
	if ends["success"] != 10 || ends["rate_limited"] != 1 || ends["dead_lettermalformed"] != 1 {
		t.Errorf("%v", ends)
	}
}
