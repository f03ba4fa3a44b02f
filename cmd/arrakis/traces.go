package main

import (
	"context"
	"encoding/pem"
	"errors"
	"fmt"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"arrakis/pipeline/tracing"
	"arrakis/pipeline/tracing/otlp"
	"arrakis/pipeline/worker"
)

// traceSettings are the variables of OpenTelemetry that arrakis decides by, and its own. The SDK reads the others from the
// environment; docs/tracing.md lists them.
type traceSettings struct {
	OTLPEndpoint    string `name:"otel-exporter-otlp-endpoint" group:"traces" placeholder:"URL" help:"Collector that traces are sent to by OTLP over HTTP, such as http://collector:4318; /v1/traces is added. Without it nothing is recorded. The other OTEL_ variables of the exporter are read too, see docs/tracing.md."`
	TracesEndpoint  string `name:"otel-exporter-otlp-traces-endpoint" group:"traces" placeholder:"URL" help:"The same for traces alone: the whole URL, to which nothing is added."`
	ServiceName     string `name:"otel-service-name" group:"traces" default:"arrakis" help:"Name of the service in traces."`
	TracesSampler   string `name:"otel-traces-sampler" group:"traces" default:"parentbased_always_on" help:"Which messages are recorded: always_on, always_off or traceidratio, or one of these after parentbased_, which leaves the choice to senders who have made it."`
	SamplerArg      string `name:"otel-traces-sampler-arg" group:"traces" placeholder:"RATIO" help:"Share of messages for traceidratio, 0 to 1."`
	TracesPerSecond int    `group:"traces" default:"${traces_per_second}" max:"1000000" help:"Traces that this process starts in a second, and that it continues for others, at most."`
}

// endpoint is the URL that spans are posted to, "" if traces are off.
func (s *traceSettings) endpoint(p process) string {
	if disabled, _ := p.lookupEnv("OTEL_SDK_DISABLED"); strings.EqualFold(disabled, "true") {
		return ""
	}
	if exporter, _ := p.lookupEnv("OTEL_TRACES_EXPORTER"); exporter == "none" {
		return ""
	}
	if s.TracesEndpoint != "" {
		return s.TracesEndpoint
	}
	if s.OTLPEndpoint == "" {
		return ""
	}
	return strings.TrimRight(s.OTLPEndpoint, "/") + "/v1/traces"
}

// validate names no value of an endpoint, for there may be a password in it.
func (s *traceSettings) validate(p process) error {
	var errs []error
	for _, e := range []struct{ name, value string }{
		{"OTEL_EXPORTER_OTLP_ENDPOINT (--otel-exporter-otlp-endpoint)", s.OTLPEndpoint},
		{"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT (--otel-exporter-otlp-traces-endpoint)", s.TracesEndpoint},
	} {
		u, err := url.Parse(e.value)
		if e.value != "" && (err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || u.User != nil || u.RawQuery != "") {
			errs = append(errs, fmt.Errorf(
				"%s: expected a URL such as http://collector:4318; credentials belong into OTEL_EXPORTER_OTLP_HEADERS", e.name))
		}
	}
	if _, err := tracing.ParseSampler(s.TracesSampler, s.SamplerArg); err != nil {
		errs = append(errs, fmt.Errorf("OTEL_TRACES_SAMPLER, OTEL_TRACES_SAMPLER_ARG: %w", err))
	}
	if s.endpoint(p) == "" {
		return errors.Join(errs...)
	}
	_, err := spanQueue(p)
	return errors.Join(append(errs, err, validateSDK(p))...)
}

// validateSDK checks what the SDK reads from the environment by itself: it would ignore what it cannot use, and say nothing,
// or fail at the first span.
func validateSDK(p process) error {
	var errs []error
	for _, name := range ofExporter("PROTOCOL") {
		if value, _ := p.lookupEnv(name); value != "" && value != "http/protobuf" && value != "http/json" {
			errs = append(errs, fmt.Errorf("%s is %.64q: arrakis sends traces by http/protobuf, to port 4318 of a collector", name, value))
		}
	}
	for _, name := range ofExporter("HEADERS") {
		if value, _ := p.lookupEnv(name); value != "" && !validPairs(value) {
			errs = append(errs, fmt.Errorf("%s: expected name=value, comma-separated", name))
		}
	}
	for _, name := range append(ofExporter("TIMEOUT"), "OTEL_BSP_SCHEDULE_DELAY", "OTEL_BSP_EXPORT_TIMEOUT", "OTEL_BSP_MAX_EXPORT_BATCH_SIZE") {
		const most = 1_000_000
		value, _ := p.lookupEnv(name)
		if n, err := strconv.Atoi(value); value != "" && (err != nil || n < 1 || n > most) {
			errs = append(errs, fmt.Errorf("%s is %.64q: expected a number from 1 to %d; times are in ms, without a unit", name, value, most))
		}
	}
	for _, name := range slices.Concat(ofExporter("CERTIFICATE"), ofExporter("CLIENT_CERTIFICATE"), ofExporter("CLIENT_KEY")) {
		value, _ := p.lookupEnv(name)
		if value == "" {
			continue
		}
		text, err := os.ReadFile(value)                               //nolint:gosec // the operator names it
		if block, _ := pem.Decode(text); err != nil || block == nil { // the value may be the key itself: it is not named
			errs = append(errs, fmt.Errorf("%s: expected a file in PEM that can be read", name))
		}
	}
	return errors.Join(errs...)
}

// ofExporter is a variable of the exporter in its two forms.
func ofExporter(name string) []string {
	return []string{"OTEL_EXPORTER_OTLP_" + name, "OTEL_EXPORTER_OTLP_TRACES_" + name}
}

func validPairs(list string) bool {
	for pair := range strings.SplitSeq(list, ",") {
		if name, _, ok := strings.Cut(pair, "="); !ok || strings.TrimSpace(name) == "" {
			return false
		}
	}
	return true
}

// spanQueue is how many spans may wait for the collector. The SDK would drop what is too much without a word, so arrakis counts,
// and reads the bound.
func spanQueue(p process) (int, error) {
	const name = "OTEL_BSP_MAX_QUEUE_SIZE"
	value, _ := p.lookupEnv(name)
	if value == "" {
		return otlp.DefaultQueue, nil
	}
	n, err := strconv.Atoi(value)
	if err != nil || n < 1 || n > 1_000_000 {
		return 0, fmt.Errorf("%s is %.64q: expected a number from 1 to 1000000", name, value)
	}
	return n, nil
}

// exportTraces makes the provider of o that sends traces to the collector, unless traces are off. The caller calls stop after
// the worker has ended, which has flushed the traces.
func (s *traceSettings) exportTraces(ctx context.Context, p process, o *worker.Options) (stop func(), err error) {
	endpoint := s.endpoint(p)
	if endpoint == "" {
		return func() {}, nil
	}
	queue, err := spanQueue(p)
	if err != nil {
		return nil, err
	}
	sampler, err := tracing.ParseSampler(s.TracesSampler, s.SamplerArg)
	if err != nil {
		return nil, err
	}
	provider, err := otlp.New(ctx, otlp.Options{
		Endpoint: endpoint, Service: s.ServiceName, Version: buildInfo().Version, Queue: queue, Logger: o.Logger, Registerer: o.Registry,
	})
	if err != nil {
		return nil, err
	}
	o.Traces = tracing.Options{Provider: provider, Sampler: sampler, PerSecond: s.TracesPerSecond}
	o.Logger.InfoContext(ctx, "traces are exported", "endpoint", endpoint, "sampler", s.TracesSampler, "traces_per_second", s.TracesPerSecond)
	return func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTime)
		defer cancel()
		_ = provider.Shutdown(ctx) // what is left, the worker's flush could not send either
	}, nil
}

// stopTime is how long the end of the process waits for the exporter, which has been flushed, to end.
const stopTime = 100 * time.Millisecond
