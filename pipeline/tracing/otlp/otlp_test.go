package otlp

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/sdk/trace"
	"go.uber.org/goleak"

	"arrakis/loadtest/testserver"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(testserver.M{M: m}) }

type bundle struct {
	provider *trace.TracerProvider
	registry *prometheus.Registry
	log      *testserver.Output
}

func export(t *testing.T, url string, queue int) *bundle {
	t.Helper()
	b := &bundle{registry: prometheus.NewRegistry(), log: new(testserver.Output)}
	var err error
	b.provider, err = New(t.Context(), Options{
		Endpoint: url, Service: "arrakis", Version: "1", Queue: queue, Registerer: b.registry,
		Logger: slog.New(slog.NewTextHandler(io.MultiWriter(b.log, t.Output()), nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Millisecond)
		defer cancel()
		_ = b.provider.Shutdown(ctx) // a collector that hangs ends with the test
	})
	return b
}

func (b *bundle) record(t *testing.T, n int) {
	t.Helper()
	for range n {
		_, span := b.provider.Tracer("test").Start(t.Context(), "x")
		span.End()
	}
}

func (b *bundle) value(t *testing.T, name, result string) (v float64) {
	t.Helper()
	families, err := b.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if f.GetName() == name && (result == "" || m.GetLabel()[0].GetValue() == result) {
				v += m.GetCounter().GetValue() + m.GetGauge().GetValue()
			}
		}
	}
	return v
}

func (b *bundle) spans(t *testing.T, result string) float64 {
	t.Helper()
	return b.value(t, "arrakis_trace_spans_total", result)
}

func TestExport(t *testing.T) {
	c := testserver.StartCollector(t)
	b := export(t, c.URL(), 100)
	b.record(t, 30)
	if err := b.provider.ForceFlush(t.Context()); err != nil {
		t.Fatal(err)
	}
	spans := c.Spans()
	if len(spans) != 30 || spans[0].Service != "arrakis" {
		t.Errorf("%d spans, %+v", len(spans), spans[0])
	}
	if b.spans(t, "exported") != 30 || b.value(t, "arrakis_trace_spans_waiting", "") != 0 {
		t.Error("not counted")
	}
}

// A collector that refuses: each span is counted, and the log says it once.
func TestRefused(t *testing.T) {
	c := testserver.StartCollector(t)
	c.Refuse(http.StatusUnauthorized)
	b := export(t, c.URL(), 100)
	for range 3 {
		b.record(t, 10)
		if err := b.provider.ForceFlush(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if n := b.spans(t, "failed"); n != 30 {
		t.Errorf("%v spans failed", n)
	}
	if n := b.log.Count("level=WARN"); n != 1 || b.log.Count("401") != 1 {
		t.Errorf("%d warnings", n)
	}
	c.Refuse(0)
	b.record(t, 10)
	if err := b.provider.ForceFlush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if len(c.Spans()) != 10 {
		t.Errorf("%d spans", len(c.Spans()))
	}
}

// A collector that hangs, or is away: who records does not wait; what there is no room for is counted; a flush ends in time.
func TestAway(t *testing.T) {
	c := testserver.StartCollector(t)
	c.Hold()
	for name, url := range map[string]string{"hangs": c.URL(), "is away": "http://127.0.0.1:1/v1/traces"} {
		t.Run(name, func(t *testing.T) {
			b := export(t, url, 20)
			b.record(t, 1_000) // would hang if it waited
			if lost := b.spans(t, "dropped") + b.spans(t, "failed"); lost < 900 {
				t.Errorf("%v spans counted as lost", lost)
			}
			if n := b.value(t, "arrakis_trace_spans_waiting", ""); n > 20 {
				t.Errorf("%v spans wait", n)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
			defer cancel()
			_ = b.provider.ForceFlush(ctx) // would hang if it did not heed ctx
			if n := b.log.Count("level=WARN"); n != 1 {
				t.Errorf("%d warnings", n)
			}
		})
	}
}
