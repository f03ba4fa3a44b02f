// Package otlp sends spans to an OpenTelemetry collector, by OTLP over HTTP. It never slows who records them: what the
// collector does not take in time waits in a bounded queue, and what does not fit there is dropped and counted.
package otlp

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk/resource"
	sdk "go.opentelemetry.io/otel/sdk/trace"

	"arrakis/pipeline/contract"
)

// DefaultQueue is the default of [Options.Queue].
const DefaultQueue = sdk.DefaultMaxQueueSize

// Options configures [New]. Whatever it does not say, such as headers, certificates and timeouts, the OpenTelemetry SDK
// reads from the OTEL_ variables of the environment.
type Options struct {
	// Endpoint is the URL that spans are posted to, http or https.
	Endpoint string
	// Service is the name of the service, and Version its version.
	Service, Version string
	// Queue is how many spans wait for the collector, at most. Defaults to DefaultQueue.
	Queue int
	// Logger logs when the collector begins to refuse spans, and when it takes them again. Defaults to none.
	Logger *slog.Logger
	// Registerer receives the metrics. Defaults to none.
	Registerer prometheus.Registerer
}

// New makes a provider whose spans are sent to a collector. It takes every span that is begun: who begins them decides. The
// caller ends it with Shutdown. No collector has to be reachable. New sets where the SDK of this process logs.
func New(ctx context.Context, o Options) (*sdk.TracerProvider, error) {
	if o.Queue <= 0 {
		o.Queue = DefaultQueue
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	log := o.Logger.With("component", "traces")
	// By itself the SDK logs to standard error, and would log a header that it cannot parse, which may be a secret.
	otel.SetLogger(logr.Discard())
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) {
		log.Debug("the OpenTelemetry SDK reports an error", "err", contract.Clip(err.Error(), maxError))
	}))
	client, err := otlptracehttp.New(ctx, otlptracehttp.WithEndpointURL(o.Endpoint))
	if err != nil {
		return nil, fmt.Errorf("export traces to %s: %w", o.Endpoint, err)
	}
	what, err := resource.New(ctx,
		resource.WithAttributes(attribute.String("service.name", o.Service), attribute.String("service.version", o.Version)),
		resource.WithTelemetrySDK(), resource.WithHost(), resource.WithProcessPID(),
		resource.WithFromEnv(), // the last, so that it wins
	)
	if err != nil && !errors.Is(err, resource.ErrPartialResource) {
		return nil, fmt.Errorf("OTEL_RESOURCE_ATTRIBUTES: %w", err)
	}
	e := newExporter(client, o.Queue, log, o.Registerer)
	return sdk.NewTracerProvider(sdk.WithSampler(sdk.AlwaysSample()), sdk.WithResource(what), sdk.WithSpanProcessor(e)), nil
}

// maxError is how much of a collector's error is logged, in bytes.
const maxError = 300

// exporter is the SDK's batch processor and, behind it, its exporter, with a count of the spans between both. The batch
// processor would drop what is too much, and tell nobody.
type exporter struct {
	sdk.SpanProcessor // the batch processor

	client sdk.SpanExporter
	most   int64
	log    *slog.Logger

	exported, failed, dropped prometheus.Counter

	waiting atomic.Int64 // spans that have ended and are neither sent nor given up
	failing atomic.Bool  // spans are lost, which has been logged
	lost    atomic.Int64 // when the last ones were, in Unix ns
}

func newExporter(client sdk.SpanExporter, queue int, log *slog.Logger, reg prometheus.Registerer) *exporter {
	factory := promauto.With(reg)
	spans := factory.NewCounterVec(prometheus.CounterOpts{
		Name: "arrakis_trace_spans_total",
		Help: "Spans that were recorded: taken by the collector (exported), refused by it or not sent in time (failed), or dropped " +
			"because too many waited for it (dropped).",
	}, []string{"result"})
	e := &exporter{
		client: client, most: int64(queue), log: log,
		exported: spans.WithLabelValues("exported"), failed: spans.WithLabelValues("failed"), dropped: spans.WithLabelValues("dropped"),
	}
	factory.NewGaugeFunc(prometheus.GaugeOpts{Name: "arrakis_trace_spans_waiting", Help: "Spans that wait for the collector."},
		func() float64 { return float64(e.waiting.Load()) })
	// There is always room in the processor's queue: also for a flush, which puts an entry of its own into it.
	batch := []sdk.BatchSpanProcessorOption{sdk.WithMaxQueueSize(queue + 16)}
	if queue < sdk.DefaultMaxExportBatchSize {
		batch = append(batch, sdk.WithMaxExportBatchSize(queue))
	}
	e.SpanProcessor = sdk.NewBatchSpanProcessor((*sender)(e), batch...)
	return e
}

// OnEnd takes a span, or drops it if there is no room. It does not block.
func (e *exporter) OnEnd(s sdk.ReadOnlySpan) {
	if e.waiting.Add(1) > e.most {
		e.waiting.Add(-1)
		e.dropped.Inc()
		e.lose("spans are dropped: the collector does not take them as fast as they are recorded", nil)
		return
	}
	e.SpanProcessor.OnEnd(s)
}

// calm is how long no span must be lost before that is over. A collector that is too slow takes some all the time.
const calm = time.Minute

// lose logs once that spans are lost.
func (e *exporter) lose(what string, err error) {
	e.lost.Store(time.Now().UnixNano())
	if e.failing.Swap(true) {
		return
	}
	why := ""
	if err != nil {
		why = contract.Clip(err.Error(), maxError)
	}
	e.log.Warn("traces are incomplete; messages are handled as ever", "reason", what, "err", why)
}

// sender is the exporter as the batch processor sees it.
type sender exporter

// ExportSpans sends a batch. It returns nil, because the SDK can do no more about an error than has been done here.
func (s *sender) ExportSpans(ctx context.Context, spans []sdk.ReadOnlySpan) error {
	e := (*exporter)(s)
	err := e.client.ExportSpans(ctx, spans)
	e.waiting.Add(-int64(len(spans)))
	if err != nil {
		e.failed.Add(float64(len(spans)))
		e.lose("spans are not exported: the collector does not take them", err)
		return nil
	}
	e.exported.Add(float64(len(spans)))
	if e.failing.Load() && time.Since(time.Unix(0, e.lost.Load())) >= calm {
		e.failing.Store(false)
		e.log.Info("the collector takes traces again")
	}
	return nil
}

// Shutdown ends the connection to the collector.
func (s *sender) Shutdown(ctx context.Context) error { return s.client.Shutdown(ctx) }
