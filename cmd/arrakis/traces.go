package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"
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
	for _, name := range []string{"OTEL_EXPORTER_OTLP_PROTOCOL", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL"} {
		if value, _ := p.lookupEnv(name); value != "" && !strings.HasPrefix(value, "http/") {
			errs = append(errs, fmt.Errorf("%s is %.64q: arrakis sends traces by http/protobuf, to port 4318 of a collector", name, value))
		}
	}
	for _, name := range []string{"OTEL_EXPORTER_OTLP_HEADERS", "OTEL_EXPORTER_OTLP_TRACES_HEADERS"} {
		if value, _ := p.lookupEnv(name); value != "" && !validPairs(value) {
			errs = append(errs, fmt.Errorf("%s: expected name=value, comma-separated", name))
		}
	}
	if _, err := spanQueue(p); err != nil {
		errs = append(errs, err)
	}
	return errors.Join(errs...)
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
