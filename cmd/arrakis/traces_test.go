package main

import (
	"net/http"
	"strings"
	"syscall"
	"testing"

	"github.com/nats-io/nats.go"

	"arrakis/loadtest/testserver"
)

const (
	markCollector = "MARKcollectortoken"
	senderTrace   = "0af7651916cd43dd8448eb211c80319c"
)

// TestTraces: with an endpoint, and the SDK's own variables, a process sends the trace of a command before it ends; turned off
// it sends none.
func TestTraces(t *testing.T) {
	t.Parallel()
	for name, off := range map[string]environment{
		"on": nil, "off by the SDK's switch": {"OTEL_SDK_DISABLED": "true"}, "off by the exporter": {"OTEL_TRACES_EXPORTER": "none"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			collector, natsServer := testserver.StartCollector(t), testserver.NATS(t)
			env := serveEnv(natsServer.URL(), testserver.Miniredis(t).Addr())
			env["OTEL_EXPORTER_OTLP_ENDPOINT"] = collector.Endpoint()
			env["OTEL_EXPORTER_OTLP_HEADERS"] = "authorization=Bearer%20" + markCollector
			env["OTEL_EXPORTER_OTLP_COMPRESSION"] = "gzip"
			env["OTEL_RESOURCE_ATTRIBUTES"] = "deployment.environment.name=test"
			env["LOG_LEVEL"] = "debug"
			for name, value := range off {
				env[name] = value
			}
			nc := natsServer.Connect(t)
			_, err := nc.Subscribe("handlers.command.stats", func(m *nats.Msg) { _ = m.Respond(nil) })
			if err == nil {
				err = nc.Flush() // a command that finds no handler is tried again, with more spans
			}
			if err != nil {
				t.Fatal(err)
			}
			b := startProcess(t, env)
			ingress, ops := addresses(t, b)
			client := newClient(t)
			testserver.Eventually(t, "serve is ready", func() bool { return ready(t, client, ops) })
			r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, ingress+"/v1/commands",
				strings.NewReader(`{"guild_id":"comm_1","data":{"command_name":"stats"}}`))
			if err != nil {
				t.Fatal(err)
			}
			r.Header.Set("Content-Type", "application/json")
			r.Header.Set("traceparent", "00-"+senderTrace+"-b7ad6b7169203331-01")
			resp, err := client.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close() //nolint:errcheck // not read
			if resp.StatusCode != http.StatusOK {
				t.Fatal(resp.Status)
			}
			if err := b.process.Signal(syscall.SIGTERM); err != nil {
				t.Fatal(err)
			}
			if code := b.exit(t); code != exitDone {
				t.Errorf("exit code %d", code)
			}
			asked, header := collector.Asked()
			spans := collector.Trace(senderTrace)
			if off != nil {
				if asked != 0 {
					t.Errorf("%d requests, %d spans", asked, len(spans))
				}
				return
			}
			if len(spans) != 7 || header.Get("Authorization") != "Bearer "+markCollector || header.Get("Content-Encoding") != "gzip" {
				t.Errorf("%d spans, by requests with %v", len(spans), header)
			}
			if log := b.stderr.String(); strings.Contains(log, markCollector) || !strings.Contains(log, "traces are exported") {
				t.Errorf("the log: %s", log)
			}
		})
	}
}

// Wrong settings end the process with a line that names the variable, and tells no secret.
func TestTraceSettings(t *testing.T) {
	t.Parallel()
	const good = "http://127.0.0.1:4318"
	for _, tt := range []struct {
		env  environment
		want string // in the error; "" is no error of these settings
	}{
		{environment{"OTEL_EXPORTER_OTLP_ENDPOINT": "127.0.0.1:4318"}, "OTEL_EXPORTER_OTLP_ENDPOINT"},
		{environment{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://user:" + markCollector + "@127.0.0.1"}, "OTEL_EXPORTER_OTLP_HEADERS"},
		{environment{"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "grpc://x"}, "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"},
		{environment{"OTEL_EXPORTER_OTLP_ENDPOINT": good, "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, "http/protobuf"},
		{environment{"OTEL_EXPORTER_OTLP_ENDPOINT": good, "OTEL_EXPORTER_OTLP_HEADERS": markCollector}, "name=value"},
		{environment{"OTEL_EXPORTER_OTLP_ENDPOINT": good, "OTEL_BSP_MAX_QUEUE_SIZE": "many"}, "OTEL_BSP_MAX_QUEUE_SIZE"},
		{environment{"OTEL_EXPORTER_OTLP_ENDPOINT": good, "OTEL_BSP_SCHEDULE_DELAY": "5s"}, "without a unit"},
		{environment{"OTEL_EXPORTER_OTLP_ENDPOINT": good, "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "-1"}, "OTEL_BSP_MAX_EXPORT_BATCH_SIZE"},
		{environment{"OTEL_EXPORTER_OTLP_ENDPOINT": good, "OTEL_EXPORTER_OTLP_TRACES_TIMEOUT": "long"}, "OTEL_EXPORTER_OTLP_TRACES_TIMEOUT"},
		{environment{"OTEL_EXPORTER_OTLP_ENDPOINT": good, "OTEL_EXPORTER_OTLP_CERTIFICATE": "traces.go"}, "OTEL_EXPORTER_OTLP_CERTIFICATE"},
		{environment{"OTEL_EXPORTER_OTLP_ENDPOINT": good, "OTEL_EXPORTER_OTLP_CLIENT_KEY": markCollector}, "PEM"},
		{environment{"OTEL_TRACES_SAMPLER": "sometimes"}, "OTEL_TRACES_SAMPLER"},
		{environment{"OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "2"}, "0 to 1"},
		{environment{"TRACES_PER_SECOND": "0"}, "TRACES_PER_SECOND"},
		{environment{"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, ""}, // no traces
	} {
		r := arrakis(t, tt.env, "dev", "--http-addr=nowhere") // which is a fault of its own
		if r.code != exitUsage || tt.want != "" && !strings.Contains(r.stderr, tt.want) || tt.want == "" && strings.Contains(r.stderr, "OTEL") {
			t.Errorf("%v: %d, %s", tt.env, r.code, r.stderr)
		}
		if strings.Contains(r.stderr, markCollector) {
			t.Errorf("a secret is in the error: %s", r.stderr)
		}
	}
}
