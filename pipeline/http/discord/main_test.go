package discord

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/goleak"

	"arrakis/loadtest/testserver"
	"arrakis/loadtest/testserver/fakediscord"
	"arrakis/pipeline/contract"
	"arrakis/pipeline/discord"
	"arrakis/pipeline/http/ingress"
)

func TestMain(m *testing.M) {
	testserver.WaitTogether()
	goleak.VerifyTestMain(m, testserver.NATSLeaks()...)
}

// bed is a handler with a real ingress and a real NATS server, a Discord that sends to it, and a connection of its own
// for workers and handlers.
type bed struct {
	server *testserver.NATSServer
	worker *nats.Conn
	js     jetstream.JetStream
	fake   *fakediscord.Server
	h      *Handler
	log    *testserver.Output
	url    string
	stop   context.CancelFunc // ends the ingress
}

// settings are what a test changes of its bed.
type settings struct {
	Options
	ingress ingress.Options
	stream  jetstream.StreamConfig
}

// newBed starts a bed. A worker's answer and choices are waited for as long as a test may take.
func newBed(t *testing.T, change func(*settings)) *bed {
	t.Helper()
	b := &bed{server: testserver.NATS(t), log: new(testserver.Output)}
	b.worker = b.server.Connect(t)
	b.js = testserver.JetStream(t, b.worker)
	b.fake = fakediscord.New(fakediscord.Options{Keys: 2, AnswerTime: testserver.Patience})
	t.Cleanup(func() { _ = b.fake.Close() }) // it only closes connections
	keys, err := discord.ParseKeys(b.fake.PublicKeys()...)
	if err != nil {
		t.Fatal(err)
	}
	s := settings{
		ingress: ingress.Options{NATS: b.server.Connect(t, nats.MaxReconnects(-1), nats.ReconnectWait(10*time.Millisecond))},
		stream: jetstream.StreamConfig{
			Name: contract.StreamCommands, Subjects: []string{"commands.>"}, Retention: jetstream.WorkQueuePolicy, Storage: jetstream.MemoryStorage,
			Discard: jetstream.DiscardNew,
		},
	}
	s.Options = Options{Keys: keys, NATS: s.ingress.NATS, Logger: slog.New(slog.NewTextHandler(b.log, &slog.HandlerOptions{Level: slog.LevelDebug}))}
	s.ingress.Logger = s.Logger
	if change != nil {
		change(&s)
	}
	if _, err := b.js.CreateStream(t.Context(), s.stream); err != nil {
		t.Fatal(err)
	}
	in, err := ingress.New(s.ingress)
	if err != nil {
		t.Fatal(err)
	}
	s.Ingress = in
	if b.h, err = New(s.Options); err != nil {
		t.Fatal(err)
	}
	b.h.times.answer, b.h.times.choices = testserver.Patience, testserver.Patience
	b.serve(t, in)
	return b
}

// serve runs the ingress, serves it and the handler, and waits until the ingress lets requests in.
func (b *bed) serve(t *testing.T, in *ingress.Ingress) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	b.stop = cancel
	done := make(chan struct{})
	go func() { // ended by the cleanup
		defer close(done)
		if err := in.Run(ctx); err != nil {
			t.Error(err)
		}
	}()
	t.Cleanup(func() { cancel(); <-done })
	mux := http.NewServeMux()
	b.h.Mount(mux)
	mux.Handle("/", in.Handler())
	ts := httptest.NewUnstartedServer(nil)
	ts.Config = in.Server(mux)
	ts.Start()
	t.Cleanup(ts.Close)
	b.url = ts.URL
	testserver.Eventually(t, "the ingress runs", func() bool { return b.running(t) })
}

// running reports whether the ingress lets requests in: then it says what is wrong with one.
func (b *bed) running(t *testing.T) bool {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, b.url+"/v1/commands", strings.NewReader("{}"))
	if err != nil {
		t.Fatal(err)
	}
	return do(t, r).status == http.StatusBadRequest
}

// answer consumes the stored interactions as a worker does: it offers what answer makes of each to the request, and
// passes on what has become of it.
func (b *bed) answer(t *testing.T, answer func(jetstream.Msg) string) (taken <-chan string) {
	t.Helper()
	c, err := b.js.CreateOrUpdateConsumer(t.Context(), contract.StreamCommands, jetstream.ConsumerConfig{Durable: "worker", AckPolicy: jetstream.AckExplicitPolicy})
	if err != nil {
		t.Fatal(err)
	}
	all := make(chan string, 100)
	consuming, err := c.Consume(func(m jetstream.Msg) {
		reply, err := b.worker.Request(m.Headers().Get(contract.HeaderReplyTo), []byte(answer(m)), testserver.Patience)
		if err != nil {
			t.Error(err)
			return
		}
		all <- string(reply.Data)
		if err := m.Ack(); err != nil {
			t.Error(err)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { consuming.Stop(); <-consuming.Closed() })
	return all
}

// always is an answer whatever the interaction.
func always(answer string) func(jetstream.Msg) string {
	return func(jetstream.Msg) string { return answer }
}

// send sends an interaction as Discord does, and returns the response.
func (b *bed) send(t *testing.T, i fakediscord.Interaction) string {
	t.Helper()
	sent, err := b.fake.Send(t.Context(), b.url+interactionsPath, i)
	if err != nil {
		t.Fatal(err)
	}
	return compact(sent.Response)
}

func compact(r fakediscord.Response) string {
	if r.Data == nil {
		return fmt.Sprintf(`{"type":%d}`, r.Type)
	}
	return fmt.Sprintf(`{"type":%d,"data":%s}`, r.Type, r.Data)
}

// stored is how many messages the stream has.
func (b *bed) stored(t *testing.T) uint64 {
	t.Helper()
	s, err := b.js.Stream(t.Context(), contract.StreamCommands)
	if err != nil {
		t.Fatal(err)
	}
	return s.CachedInfo().State.Msgs
}

// counted waits until that many requests have ended so: a request is counted just after its answer.
func (b *bed) counted(t *testing.T, k kind, e end, want int) {
	t.Helper()
	counter := b.h.metrics.interactions.WithLabelValues(string(k), string(e))
	testserver.Succeeds(t, "the requests are counted", func() error {
		if n := testutil.ToFloat64(counter); n != float64(want) {
			return fmt.Errorf("%s, %s: %v, want %d", k, e, n, want)
		}
		return nil
	})
}

// answered is an answer, read to its end.
type answered struct {
	status int
	header http.Header
	body   string
}

// post sends a body, signed at a time; change may change the request after that.
func (b *bed) post(t *testing.T, path, body string, at time.Time, change func(*http.Request)) answered {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, b.url+path, bytes.NewReader([]byte(body)))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	b.fake.Sign(r.Header, []byte(body), at)
	if change != nil {
		change(r)
	}
	return do(t, r)
}

// client keeps no connections, so that none is left at the end.
var client = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}

func do(t *testing.T, r *http.Request) answered {
	t.Helper()
	resp, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close() //nolint:errcheck // only read
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answered{resp.StatusCode, resp.Header, string(body)}
}
