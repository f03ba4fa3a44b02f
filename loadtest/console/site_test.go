package console

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nuid"
	"github.com/redis/go-redis/v9"

	"arrakis/loadtest/testserver"
	"arrakis/pipeline"
	"arrakis/pipeline/contract"
	"arrakis/pipeline/worker"
	"arrakis/tenant/store"
)

// site is a running worker with its servers.
type site struct {
	t       *testing.T
	ops     string // URL of the console
	ingress string // URL
	nc      *nats.Conn
	rdb     *redis.Client
	change  func(*worker.Options)
	stop    func() // ends the worker that runs
}

// newSite starts a worker. change sets further options.
func newSite(t *testing.T, change func(*worker.Options)) *site {
	t.Helper()
	s := &site{t: t, nc: testserver.ConnectNATS(t, testserver.NATS(t).URL()), rdb: testserver.Redis(t).Client(t), change: change, stop: func() {}}
	t.Cleanup(func() { s.stop() })
	s.start("127.0.0.1:0")
	return s
}

// start starts a worker with its console at the address.
func (s *site) start(ops string) {
	s.t.Helper()
	o := worker.Options{
		NATS: s.nc, Redis: s.rdb, HTTP: listen(s.t, "127.0.0.1:0"), Ops: listen(s.t, ops), Handlers: handlers(),
		RetryBackoff: []time.Duration{10 * time.Millisecond},
	}
	if s.change != nil {
		s.change(&o)
	}
	s.ops, s.ingress = "http://"+o.Ops.Addr().String(), "http://"+o.HTTP.Addr().String()
	w, err := worker.New(o)
	if err != nil {
		s.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(s.t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- w.Run(ctx) }()
	s.stop = func() {
		s.stop = func() {}
		cancel()
		if err := <-ended; err != nil {
			s.t.Error("the worker ended:", err)
		}
	}
	if err := w.AwaitReady(s.t.Context()); err != nil {
		s.t.Fatal(err)
	}
}

// restart ends the worker, and starts another one at the same address of the console.
func (s *site) restart() {
	s.t.Helper()
	s.stop()
	s.start(strings.TrimPrefix(s.ops, "http://"))
}

// handlers are commands that a test needs: ping answers, slow takes half a second, fail fails while it may.
func handlers() *pipeline.Handlers {
	h := pipeline.NewHandlers()
	h.Command("ping", func(context.Context, *pipeline.Message) (any, error) { return "pong", nil })
	h.Command("slow", func(ctx context.Context, _ *pipeline.Message) (any, error) {
		select {
		case <-time.After(500 * time.Millisecond):
		case <-ctx.Done():
		}
		return nil, ctx.Err()
	})
	h.Command("fail", func(context.Context, *pipeline.Message) (any, error) { return nil, errors.New("<b>broken</b>") })
	return h
}

func listen(t *testing.T, address string) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// command sends a command and returns its HTTP status.
func (s *site) command(community, command string) int {
	s.t.Helper()
	return s.send(http.MethodPost, s.ingress+"/v1/commands", fmt.Sprintf(`{"community_id":%q,"data":{"command_name":%q}}`, community, command), nil)
}

// send sends a request and returns the status of its answer.
func (s *site) send(method, url, body string, header http.Header) int {
	s.t.Helper()
	r, err := http.NewRequestWithContext(s.t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	for name, values := range header {
		r.Header[name] = values
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		s.t.Fatal(err)
	}
	defer answer.Body.Close() //nolint:errcheck // nothing is written
	_, _ = io.Copy(io.Discard, answer.Body)
	return answer.StatusCode
}

// store reads and writes tenants beside the worker.
func (s *site) store() *store.Store { return store.New(s.rdb, store.Options{Source: "test"}) }

// put stores a tenant's config by the API.
func (s *site) put(community, config string) {
	s.t.Helper()
	if got := s.send(http.MethodPut, s.ops+"/v1/tenants/"+community, config, nil); got >= 300 {
		s.t.Fatalf("store %s: %d", community, got)
	}
}

// get returns the status of a path of the ops address.
func (s *site) get(path string) int {
	s.t.Helper()
	return s.send(http.MethodGet, s.ops+path, "", nil)
}

// publish publishes commands on NATS.
func (s *site) publish(community, command string, n int) {
	s.t.Helper()
	js := testserver.JetStream(s.t, s.nc)
	for range n {
		body := fmt.Appendf(nil, `{"community_id":%q,"event_id":%q,"event_type":"interaction.create","data":{"command_name":%q}}`, community, nuid.Next(), command)
		if _, err := js.Publish(s.t.Context(), "commands.interaction."+community, body); err != nil {
			s.t.Fatal(err)
		}
	}
}

// deadLetters is how many dead letters there are.
func (s *site) deadLetters() uint64 {
	s.t.Helper()
	stream, err := testserver.JetStream(s.t, s.nc).Stream(s.t.Context(), contract.StreamDeadLetter)
	if err != nil {
		s.t.Fatal(err)
	}
	return stream.CachedInfo().State.Msgs
}
