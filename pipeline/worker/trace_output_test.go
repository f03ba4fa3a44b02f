package worker

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"arrakis/loadtest/testserver"
	"arrakis/pipeline"
	"arrakis/pipeline/tracing"
	"arrakis/pipeline/tracing/otlp"
)

// A collector that hangs slows no message, and does not hold up the shutdown; what it had not taken before, it gets then.
func TestTracesAtShutdown(t *testing.T) {
	t.Parallel()
	const timeout = 8 * time.Second // if the collector hangs, Run is expected to return after 7.6 s
	handlers := pipeline.NewHandlers()
	handlers.Command("ping", func(context.Context, *pipeline.Message) (any, error) { return nil, nil })
	for name, hangs := range map[string]bool{"the collector answers": false, "the collector hangs": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := testserver.StartCollector(t)
			if hangs {
				c.Hold()
			}
			provider, err := otlp.New(t.Context(), otlp.Options{Endpoint: c.URL(), Service: "arrakis", Queue: 50})
			if err != nil {
				t.Fatal(err)
			}
			l := listen(t)
			w := newWorker(t, Options{HTTP: l, Handlers: handlers, Traces: tracing.Options{Provider: provider}, ShutdownTimeout: timeout})
			w.flushTime = time.Hour // so that the shutdown alone ends the wait for the collector
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan error, 1)
			go func() { done <- w.Run(ctx) }()
			if err := w.AwaitReady(ctx); err != nil {
				t.Fatal(err)
			}
			b := &traced{Worker: w, t: t, url: "http://" + l.Addr().String()}
			for i := range 100 { // more spans than fit into the queue
				if code := b.post(strings.NewReplacer("e-1", fmt.Sprint("s-", i), "comm_1", fmt.Sprint("comm_s", i)).Replace(ping)); code != http.StatusOK {
					t.Fatalf("%d", code)
				}
			}
			late := time.NewTimer(timeout + timeout/2) // a slow machine has some more to do
			cancel()
			if err := <-done; err != nil {
				t.Error(err)
			}
			select {
			case <-late.C:
				t.Error("Run returned late")
			default:
			}
			if n := len(c.Spans()); hangs != (n == 0) {
				t.Errorf("%d spans have come", n)
			}
			c.Release()
			if err := provider.Shutdown(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
}

// The latency histograms name a recorded message in each bucket, in the format that can: stage, wait, and the tenant's own.
func TestExemplars(t *testing.T) {
	handlers := pipeline.NewHandlers()
	handlers.Command("ping", func(context.Context, *pipeline.Message) (any, error) { return nil, nil })
	ops := listen(t)
	b := runTraced(t, handlers, func(o *Options) { o.Ops = ops })
	if code := b.post(ping, "traceparent", sampled); code != http.StatusOK {
		t.Fatal(code)
	}
	if code := b.post(strings.Replace(ping, "e-1", "e-2", 1), "traceparent", sampled[:54]+"0"); code != http.StatusOK {
		t.Fatal(code)
	}
	metrics := func(accept string) string {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+ops.Addr().String()+"/metrics", http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		r.Close = true
		r.Header.Set("Accept", accept)
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close() //nolint:errcheck // only read
		text, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	text := metrics("application/openmetrics-text")
	for _, name := range []string{"arrakis_stage_seconds_bucket", "arrakis_wait_seconds_bucket", "arrakis_tenant_command_latency_seconds_bucket"} {
		n := 0
		for line := range strings.Lines(text) {
			if strings.HasPrefix(line, name+"{") && strings.Contains(line, `# {trace_id="`+clientTrace+`"}`) {
				n++
			}
		}
		if n != 1 {
			t.Errorf("%s has %d exemplars, want 1", name, n)
		}
	}
	if strings.Contains(metrics("text/plain"), clientTrace) {
		t.Error("the old format has no exemplars")
	}
}

// Log lines about a message name its trace, recorded or not, with traces on or off.
func TestLogsNameTheTrace(t *testing.T) {
	handlers := pipeline.NewHandlers()
	handlers.Command("ping", func(context.Context, *pipeline.Message) (any, error) { panic("MARKpanic") })
	for name, off := range map[string]bool{"on": false, "off": true} {
		t.Run(name, func(t *testing.T) {
			var log testserver.Output
			b := runTraced(t, handlers, func(o *Options) {
				o.Logger = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
				if off {
					o.Traces = tracing.Options{}
				}
			})
			b.post(ping, "traceparent", sampled[:54]+"0")
			for _, line := range []string{"a handler panicked", `msg="dead letter"`} {
				testserver.Eventually(t, line+" names the trace", func() bool {
					for text := range strings.Lines(log.String()) {
						if strings.Contains(text, line) && strings.Contains(text, "trace_id="+clientTrace) {
							return true
						}
					}
					return false
				})
			}
		})
	}
}
