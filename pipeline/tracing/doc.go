// Package tracing records messages as spans of OpenTelemetry. A message belongs to the trace that its sender names in the
// headers traceparent and tracestate (W3C Trace Context); where it names none, a trace may be started here.
//
// Whether a message is recorded is decided once in each process that it comes to, from one byte of traceparent, or from a
// hash of its event ID. A message that is not recorded costs that look, and no allocation: its [Trace] is nil, and every
// method of a nil [Trace] does nothing. So does a nil [Tracer], which is tracing turned off.
//
// What is recorded is bounded, because whoever publishes sets the flag: a [Tracer] starts PerSecond traces, and continues as
// many of others. Span names are from the table of routes and from this package; IDs are attributes, cut to 256 bytes.
// Payloads, outcomes and the texts of errors are in neither.
//
// Package otlp sends the spans.
package tracing
