package tracing

import (
	"log/slog"
	"strings"

	"github.com/nats-io/nats.go"
	"go.opentelemetry.io/otel/trace"

	"arrakis/pipeline/contract"
)

// titleTraceParent is the name that publishers write who use OpenTelemetry's carrier for HTTP headers on NATS headers,
// whose names are case-sensitive.
const (
	titleTraceParent = "Traceparent"
	titleTraceState  = "Tracestate"
)

// maxState is the longest tracestate that is kept: what W3C asks of everybody.
const maxState = 512

// ParentOf returns the traceparent in the headers of a message, as it is, or "".
func ParentOf(h nats.Header) string { return first(h, contract.HeaderTraceParent, titleTraceParent) }

// StateOf returns the tracestate in the headers of a message, as it is, or "" if there is none that can be kept.
func StateOf(h nats.Header) string {
	if s := first(h, contract.HeaderTraceState, titleTraceState); len(s) <= maxState {
		return s
	}
	return ""
}

func first(h nats.Header, names ...string) string {
	if len(h) == 0 {
		return ""
	}
	for _, name := range names {
		if values := h[name]; len(values) > 0 && values[0] != "" {
			return values[0]
		}
	}
	return ""
}

// The parts of a traceparent: version-trace-parent-flags.
const (
	parentLength = 55
	flagsEnd     = parentLength - 1 // the hex digit with the sampled flag
)

// sampledFlag reads the one digit of a traceparent that says whether it is sampled. The rest may be invalid.
func sampledFlag(parent string) bool {
	if len(parent) < parentLength {
		return false
	}
	switch parent[flagsEnd] {
	case '1', '3', '5', '7', '9', 'b', 'd', 'f':
		return true
	}
	return false
}

// ValidParent reports whether s is a traceparent: version-trace-parent-flags in lower-case hex, with IDs that are not all
// zeros. Versions after 00 may have more fields.
func ValidParent(s string) bool {
	if len(s) < parentLength || len(s) > maxState || s[2] != '-' || s[35] != '-' || s[52] != '-' {
		return false
	}
	version, id, parent, flags := s[:2], s[3:35], s[36:52], s[53:parentLength]
	if !lowerHex(version) || !lowerHex(id) || !lowerHex(parent) || !lowerHex(flags) ||
		version == "ff" || strings.Trim(id, "0") == "" || strings.Trim(parent, "0") == "" {
		return false
	}
	if len(s) == parentLength {
		return true
	}
	return version != "00" && s[parentLength] == '-' && !strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' })
}

func lowerHex(s string) bool { return strings.Trim(s, "0123456789abcdef") == "" }

// TraceID returns the trace ID of a traceparent, or "" if it is not valid.
func TraceID(parent string) string {
	if !ValidParent(parent) {
		return ""
	}
	return parent[3:35]
}

// LogID is a traceparent as a value of the log's attribute trace_id: the ID of its trace. If it is not valid, the log has no
// such attribute.
type LogID string

// LogValue implements [slog.LogValuer].
func (parent LogID) LogValue() slog.Value {
	if id := TraceID(string(parent)); id != "" {
		return slog.StringValue(id)
	}
	return slog.GroupValue() // handlers leave out an empty group
}

// SpanContext returns the span that a traceparent and a tracestate name. It is not valid if parent is not. A state that is
// not valid is left out, as W3C says.
func SpanContext(parent, state string) trace.SpanContext {
	if !ValidParent(parent) {
		return trace.SpanContext{}
	}
	var c trace.SpanContextConfig
	c.TraceID, _ = trace.TraceIDFromHex(parent[3:35]) // valid
	c.SpanID, _ = trace.SpanIDFromHex(parent[36:52])
	if sampledFlag(parent) {
		c.TraceFlags = trace.FlagsSampled
	}
	if len(state) <= maxState { // a longer one would cost too much to read
		c.TraceState, _ = trace.ParseTraceState(state) // empty if it is not valid
	}
	c.Remote = true
	return trace.NewSpanContext(c)
}

// ValidState reports whether s is a tracestate that is kept.
func ValidState(s string) bool {
	if len(s) > maxState {
		return false
	}
	_, err := trace.ParseTraceState(s)
	return err == nil
}

// Unsampled is a valid traceparent without its sampled flag.
func Unsampled(parent string) string {
	if !sampledFlag(parent) {
		return parent
	}
	return parent[:parentLength-2] + "00" + parent[parentLength:]
}

// format returns the traceparent of a span.
func format(c trace.SpanContext) string {
	id, span := c.TraceID(), c.SpanID()
	return "00-" + id.String() + "-" + span.String() + "-" + (c.TraceFlags() & trace.FlagsSampled).String()
}
