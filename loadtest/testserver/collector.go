package testserver

import (
	"compress/gzip"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
	"time"

	collectorpb "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"
)

// Span is a span as a [Collector] has received it.
type Span struct {
	Name                      string
	TraceID, SpanID, ParentID string // in hex; ParentID is "" for a root
	Kind                      string // such as SPAN_KIND_CONSUMER
	State                     string // tracestate
	Start, End                time.Time
	Failed                    bool
	Attributes                map[string]string
	Service                   string
}

// Collector receives traces by OTLP over HTTP, as an OpenTelemetry collector does.
type Collector struct {
	server *httptest.Server

	mu     sync.Mutex // protects the fields below
	spans  []Span
	status int           // of the answers; 0: 200
	hold   chan struct{} // no answer until it is closed; nil: at once
	asked  int           // requests
	header http.Header   // of the last request
}

// StartCollector starts a collector, which ends with the test.
func StartCollector(tb testing.TB) *Collector {
	tb.Helper()
	c := &Collector{}
	c.server = httptest.NewServer(http.HandlerFunc(c.serve))
	tb.Cleanup(func() {
		c.Release()
		c.server.CloseClientConnections()
		c.server.Close()
	})
	return c
}

// URL is the endpoint for traces.
func (c *Collector) URL() string { return c.server.URL + "/v1/traces" }

// Endpoint is the URL as OTEL_EXPORTER_OTLP_ENDPOINT has it.
func (c *Collector) Endpoint() string { return c.server.URL }

// Refuse makes the collector answer with a status; 0 makes it take spans again.
func (c *Collector) Refuse(status int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.status = status
}

// Hold makes the collector answer nothing until Release.
func (c *Collector) Hold() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.hold = make(chan struct{})
}

// Release ends Hold.
func (c *Collector) Release() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.hold != nil {
		close(c.hold)
		c.hold = nil
	}
}

// Asked is how many requests have come, and the headers of the last one.
func (c *Collector) Asked() (int, http.Header) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.asked, c.header
}

// Spans returns the spans that have come, those of one trace together, in the order of their starts.
func (c *Collector) Spans() []Span {
	c.mu.Lock()
	defer c.mu.Unlock()
	all := slices.Clone(c.spans)
	slices.SortStableFunc(all, func(a, b Span) int { return a.Start.Compare(b.Start) })
	return all
}

// Trace returns the spans of one trace.
func (c *Collector) Trace(id string) []Span {
	return slices.DeleteFunc(c.Spans(), func(s Span) bool { return s.TraceID != id })
}

func (c *Collector) serve(w http.ResponseWriter, r *http.Request) {
	c.mu.Lock()
	c.asked++
	c.header = r.Header
	status, hold := c.status, c.hold
	c.mu.Unlock()
	var body io.Reader = r.Body
	if r.Header.Get("Content-Encoding") == "gzip" {
		unzipped, err := gzip.NewReader(r.Body)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		body = unzipped
	}
	data, err := io.ReadAll(body)
	if hold != nil {
		select {
		case <-hold:
		case <-r.Context().Done():
			return
		}
	}
	if status != 0 {
		http.Error(w, "the collector refuses", status)
		return
	}
	var request collectorpb.ExportTraceServiceRequest
	if err == nil {
		err = proto.Unmarshal(data, &request)
	}
	if err != nil || r.URL.Path != "/v1/traces" || r.Header.Get("Content-Type") != "application/x-protobuf" {
		http.Error(w, fmt.Sprint("not OTLP: ", err), http.StatusBadRequest)
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, of := range request.GetResourceSpans() {
		service := texts(of.GetResource().GetAttributes())["service.name"]
		for _, scope := range of.GetScopeSpans() {
			for _, s := range scope.GetSpans() {
				c.spans = append(c.spans, spanOf(s, service))
			}
		}
	}
	w.Header().Set("Content-Type", "application/x-protobuf")
}

func spanOf(s *tracepb.Span, service string) Span {
	at := func(nanos uint64) time.Time { return time.Unix(0, int64(nanos)) } // far below 9e18
	return Span{
		Name: s.GetName(), TraceID: hex.EncodeToString(s.GetTraceId()), SpanID: hex.EncodeToString(s.GetSpanId()),
		ParentID: hex.EncodeToString(s.GetParentSpanId()), Kind: s.GetKind().String(), State: s.GetTraceState(),
		Start: at(s.GetStartTimeUnixNano()), End: at(s.GetEndTimeUnixNano()),
		Failed:     s.GetStatus().GetCode() == tracepb.Status_STATUS_CODE_ERROR,
		Attributes: texts(s.GetAttributes()), Service: service,
	}
}

// texts are the values of attributes as texts.
func texts(attributes []*commonpb.KeyValue) map[string]string {
	all := make(map[string]string, len(attributes))
	for _, a := range attributes {
		switch v := a.GetValue().GetValue().(type) {
		case *commonpb.AnyValue_StringValue:
			all[a.GetKey()] = v.StringValue
		case *commonpb.AnyValue_IntValue:
			all[a.GetKey()] = fmt.Sprint(v.IntValue)
		case *commonpb.AnyValue_BoolValue:
			all[a.GetKey()] = fmt.Sprint(v.BoolValue)
		default:
			all[a.GetKey()] = fmt.Sprint(a.GetValue())
		}
	}
	return all
}
