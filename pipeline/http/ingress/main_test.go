package ingress

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"arrakis/loadtest/testserver"
	"arrakis/pipeline/contract"
)

func TestMain(m *testing.M) {
	testserver.WaitTogether()
	goleak.VerifyTestMain(m, testserver.NATSLeaks()...)
}

// bed is a real NATS server, an ingress on it, and a connection of its own for the worker's part.
type bed struct {
	server   *testserver.NATSServer
	worker   *nats.Conn
	js       jetstream.JetStream
	in       *Ingress
	registry *prometheus.Registry
	url      string
	stop     context.CancelFunc // ends Run's context
	ran      <-chan error       // gets what Run returned
}

// newBed starts a bed; change alters the ingress's options.
func newBed(tb testing.TB, change func(*Options)) *bed {
	tb.Helper()
	b := &bed{server: testserver.NATS(tb), registry: prometheus.NewRegistry()}
	b.worker = connect(tb, b.server)
	b.js = testserver.JetStream(tb, b.worker)
	for name, retention := range map[string]jetstream.RetentionPolicy{
		contract.StreamCommands: jetstream.WorkQueuePolicy, contract.StreamEvents: jetstream.LimitsPolicy, contract.StreamEligibility: jetstream.LimitsPolicy,
	} {
		_, err := b.js.CreateStream(tb.Context(), jetstream.StreamConfig{
			Name: name, Subjects: []string{strings.ToLower(name) + ".>"}, Retention: retention, Storage: jetstream.MemoryStorage,
		})
		if err != nil {
			tb.Fatal(err)
		}
	}
	o := Options{NATS: connect(tb, b.server), Registerer: b.registry, Wait: 10 * time.Second}
	if change != nil {
		change(&o)
	}
	in, err := New(o)
	if err != nil {
		tb.Fatal(err)
	}
	b.in = in
	b.run(tb)
	b.serve(tb, b.in.Server(b.in.Handler()))
	return b
}

// connect makes a connection that comes back fast.
func connect(tb testing.TB, s *testserver.NATSServer) *nats.Conn {
	tb.Helper()
	return s.Connect(tb, nats.MaxReconnects(-1), nats.ReconnectWait(10*time.Millisecond))
}

// run runs the ingress and waits until it lets requests in.
func (b *bed) run(tb testing.TB) {
	tb.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ran, done := make(chan error, 1), make(chan struct{})
	go func() { // ended by the cleanup
		defer close(done)
		ran <- b.in.Run(ctx)
	}()
	b.stop, b.ran = cancel, ran
	tb.Cleanup(func() { cancel(); <-done })
	testserver.Eventually(tb, "the ingress runs", func() bool {
		b.in.mu.Lock()
		defer b.in.mu.Unlock()
		return b.in.phase == running
	})
}

func (b *bed) serve(tb testing.TB, s *http.Server) {
	tb.Helper()
	ts := httptest.NewUnstartedServer(nil)
	ts.Config = s
	ts.Start()
	tb.Cleanup(ts.Close)
	b.url = ts.URL
}

// work consumes every message of the three streams as a worker does, and publishes what outcome makes of it to its
// reply-to.
func (b *bed) work(tb testing.TB, outcome func(jetstream.Msg) []byte) {
	tb.Helper()
	for _, stream := range []string{contract.StreamCommands, contract.StreamEvents, contract.StreamEligibility} {
		c, err := b.js.CreateOrUpdateConsumer(tb.Context(), stream, jetstream.ConsumerConfig{Durable: "worker", AckPolicy: jetstream.AckExplicitPolicy})
		if err != nil {
			tb.Fatal(err)
		}
		consuming, err := c.Consume(func(m jetstream.Msg) {
			if to := m.Headers().Get(contract.HeaderReplyTo); to != "" {
				if err := b.worker.Publish(to, outcome(m)); err != nil {
					tb.Error(err)
				}
			}
			if err := m.Ack(); err != nil {
				tb.Error(err)
			}
		})
		if err != nil {
			tb.Fatal(err)
		}
		tb.Cleanup(func() { consuming.Stop(); <-consuming.Closed() })
	}
}

// echo is the outcome of a handler that returns its whole message.
func echo(m jetstream.Msg) []byte {
	var e struct {
		EventID string `json:"event_id"`
	}
	if err := json.Unmarshal(m.Data(), &e); err != nil {
		return nil
	}
	out := append([]byte(`{"event_id":"x","community_id":"c","tier":"free","status":"ok","result":`), m.Data()...)
	return append(out, `,"rate_limit":{"action":"command","limit":10,"remaining":9,"reset_ms":36001,"retry_after_ms":0}}`...)
}

// always is an outcome whatever the message.
func always(outcome string) func(jetstream.Msg) []byte {
	return func(jetstream.Msg) []byte { return []byte(outcome) }
}

// response is an answer, read to its end.
type response struct {
	code   int
	header http.Header
	body   string
}

// post sends body with headers given as name, value pairs.
func (b *bed) post(tb testing.TB, path, body string, headers ...string) response {
	tb.Helper()
	return do(tb, b.request(tb, http.MethodPost, path, strings.NewReader(body), headers...))
}

func (b *bed) request(tb testing.TB, method, path string, body io.Reader, headers ...string) *http.Request {
	tb.Helper()
	r, err := http.NewRequestWithContext(tb.Context(), method, b.url+path, body)
	if err != nil {
		tb.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		r.Header.Add(headers[i], headers[i+1])
	}
	return r
}

func do(tb testing.TB, r *http.Request) response {
	tb.Helper()
	resp, err := client.Do(r)
	if err != nil {
		tb.Fatal(err)
	}
	defer resp.Body.Close() //nolint:errcheck // only read
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		tb.Fatal(err)
	}
	return response{resp.StatusCode, resp.Header, string(body)}
}

// client keeps no connection after a test, which would be a leak.
var client = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}

// problemOf decodes a problem document and checks its media type.
func problemOf(tb testing.TB, r response) (p struct{ Type, Field, Detail string }) {
	tb.Helper()
	if got := r.header.Get("Content-Type"); got != "application/problem+json" {
		tb.Errorf("Content-Type %q, want a problem; body %s", got, r.body)
	}
	if err := json.Unmarshal([]byte(r.body), &p); err != nil {
		tb.Errorf("%v in %s", err, r.body)
	}
	return p
}

// counts reads the ingress's state: requests in flight and tokens waited for.
func (b *bed) counts() (inFlight, waiting int) {
	b.in.mu.Lock()
	defer b.in.mu.Unlock()
	return b.in.inFlight, len(b.in.waiting)
}

// stored is the number of messages in a stream.
func (b *bed) stored(tb testing.TB, stream string) uint64 {
	tb.Helper()
	s, err := b.js.Stream(tb.Context(), stream)
	if err != nil {
		tb.Fatal(err)
	}
	info, err := s.Info(tb.Context())
	if err != nil {
		tb.Fatal(err)
	}
	return info.State.Msgs
}

func counter(t *testing.T, b *bed, name string) float64 {
	t.Helper()
	families, err := b.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == name {
			return f.GetMetric()[0].GetCounter().GetValue()
		}
	}
	t.Fatalf("no metric %s", name)
	return 0
}

// hold sends a request that waits for an outcome, and returns once it does.
func (b *bed) hold(ctx context.Context, t *testing.T) <-chan response {
	t.Helper()
	_, before := b.counts()
	r := b.request(t, http.MethodPost, "/v1/commands", strings.NewReader(good)).WithContext(ctx)
	answered := make(chan response, 1)
	var wg sync.WaitGroup
	t.Cleanup(wg.Wait)
	wg.Go(func() {
		defer close(answered)
		resp, err := client.Do(r)
		if err != nil {
			return
		}
		defer resp.Body.Close() //nolint:errcheck // only read
		body, err := io.ReadAll(resp.Body)
		if err == nil {
			answered <- response{resp.StatusCode, resp.Header, string(body)}
		}
	})
	testserver.Eventually(t, "the request waits, stored", func() bool {
		_, waiting := b.counts()
		return waiting == before+1 && b.stored(t, contract.StreamCommands) > 0
	})
	return answered
}
