package tracing

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"
)

const (
	traceID = "0af7651916cd43dd8448eb211c80319c"
	spanID  = "b7ad6b7169203331"
	sampled = "00-" + traceID + "-" + spanID + "-01"
	silent  = "00-" + traceID + "-" + spanID + "-00"
)

func TestValidParent(t *testing.T) {
	for s, want := range map[string]bool{
		sampled: true,
		silent:  true,
		"cc-" + traceID + "-" + spanID + "-01-what.ever": true,
		"":                false,
		sampled + "-more": false,
		"cc-" + traceID + "-" + spanID + "-01more":              false,
		"cc-" + traceID + "-" + spanID + "-01-a\r\nb":           false,
		"ff-" + traceID + "-" + spanID + "-01":                  false,
		strings.ToUpper(sampled):                                false,
		"00-00000000000000000000000000000000-" + spanID + "-01": false,
		"00-" + traceID + "-0000000000000000-01":                false,
		"00-" + traceID + "-" + spanID + "-0g":                  false,
		"00_" + traceID + "-" + spanID + "-01":                  false,
		strings.Repeat("0", 10_000):                             false,
		"\xff\xfe" + sampled[2:]:                                false,
	} {
		if got := ValidParent(s); got != want {
			t.Errorf("ValidParent(%q) = %v", s, got)
		}
		if got := SpanContext(s, "").IsValid(); got != want {
			t.Errorf("SpanContext(%q) valid: %v", s, got)
		}
	}
}

// OpenTelemetry's carrier for HTTP headers writes Traceparent, and names of NATS headers are case-sensitive.
func TestParentOfEitherSpelling(t *testing.T) {
	for name, h := range map[string]nats.Header{
		"as W3C writes it":         {"traceparent": {sampled}, "tracestate": {"a=1"}},
		"by a carrier of net/http": {"Traceparent": {sampled}, "Tracestate": {"a=1"}},
	} {
		if ParentOf(h) != sampled || StateOf(h) != "a=1" {
			t.Errorf("%s: %q, %q", name, ParentOf(h), StateOf(h))
		}
	}
	if got := ParentOf(nats.Header{"TRACEPARENT": {sampled}}) + ParentOf(nil) + ParentOf(nats.Header{"traceparent": {}}); got != "" {
		t.Errorf("found %q", got)
	}
}

// A tracestate that is not valid is left out, and the trace goes on.
func TestHostileState(t *testing.T) {
	for state, want := range map[string]string{
		"vendor=x,other=y":                  "vendor=x,other=y",
		"":                                  "",
		"no equals":                         "",
		"a=1,a=2":                           "",
		"a=\x00":                            "",
		"a=" + strings.Repeat("x", 600):     "",
		strings.Repeat("a=1,", 200):         "",
		"A=1":                               "",
		"a=1\r\nArrakis-Reply-To: _INBOX.x": "",
	} {
		c := SpanContext(sampled, state)
		if !c.IsValid() || !c.IsSampled() || c.TraceState().String() != want {
			t.Errorf("%.40q: %v %q, want %q", state, c.IsValid(), c.TraceState().String(), want)
		}
		if ValidState(state) != (want == state) {
			t.Errorf("ValidState(%.40q) = %v", state, ValidState(state))
		}
	}
}

func TestUnsampled(t *testing.T) {
	for in, want := range map[string]string{
		sampled: silent,
		silent:  silent,
		"cc-" + traceID + "-" + spanID + "-0f-what.ever": "cc-" + traceID + "-" + spanID + "-00-what.ever",
	} {
		if got := Unsampled(in); got != want {
			t.Errorf("Unsampled(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestLogID(t *testing.T) {
	var b bytes.Buffer
	log := slog.New(slog.NewTextHandler(&b, nil))
	log.Info("with", "trace_id", LogID(silent))
	log.Info("without", "trace_id", LogID("nonsense\n"))
	if got := b.String(); strings.Count(got, "trace_id="+traceID) != 1 || strings.Count(got, "trace_id") != 1 {
		t.Error(got)
	}
}

func FuzzSpanContext(f *testing.F) {
	f.Add(sampled, "vendor=x")
	f.Add("cc-"+traceID+"-"+spanID+"-01-what.ever", "a@b=c")
	f.Add(silent, "=,=")
	f.Fuzz(func(t *testing.T, parent, state string) {
		c := SpanContext(parent, state)
		if c.IsValid() != ValidParent(parent) || c.IsValid() && c.IsSampled() != sampledFlag(parent) {
			t.Errorf("%q: %+v", parent, c)
		}
		if !c.IsValid() {
			return
		}
		if made := format(c); !ValidParent(made) || made[3:52] != parent[3:52] {
			t.Errorf("%q became %q", parent, made)
		}
		if kept := c.TraceState().String(); strings.ContainsAny(kept, "\r\n\x00") || len(kept) > maxState {
			t.Errorf("tracestate %q was kept", kept)
		}
		if silent := Unsampled(parent); !ValidParent(silent) || sampledFlag(silent) {
			t.Errorf("Unsampled(%q) = %q", parent, silent)
		}
	})
}
