package worker

import (
	"context"
	"fmt"
	"io"
	"maps"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"arrakis/limiter"
	"arrakis/loadtest/testserver"
	"arrakis/pipeline"
	"arrakis/pipeline/contract"
	"arrakis/pipeline/streams"
)

// F1, F4: the consumer of EVENTS is lost together with Redis, which knows where it was. A worker that starts then does
// all other work, and says what it waits for. When Redis answers, events go on where they were.
func TestStartWithoutRedisAndAConsumer(t *testing.T) {
	t.Parallel()
	for _, policy := range []limiter.Policy{limiter.Local, limiter.Open} {
		t.Run(policy.String(), func(t *testing.T) {
			t.Parallel()
			s := newSite(t, policy)
			stop := s.run()
			s.becomesReady()
			s.publish(5)
			rdb := s.redis.Client(t)
			testserver.Eventually(t, "the place of the consumer is kept", func() bool {
				return strings.HasSuffix(rdb.HGet(t.Context(), "arrakis:stream:EVENTS", "floor:event-worker").Val(), " 5")
			})
			stop()
			s.publish(2)
			s.redis.Kill()
			if err := s.js.DeleteConsumer(t.Context(), contract.StreamEvents, contract.ConsumerEvent); err != nil {
				t.Fatal(err)
			}

			stop = s.run()
			for path, body := range map[string]string{
				"/v1/commands":           `{"guild_id":"c1","data":{"command_name":"ping"}}`,
				"/v1/eligibility/checks": `{"community_id":"c1","check_type":"single"}`,
			} {
				testserver.Succeeds(t, "a request to "+path+" is handled", func() error { // the server is up before the ingress is
					if status, answer := s.ask(http.MethodPost, path, body); status != http.StatusOK {
						return fmt.Errorf("%d %s", status, answer)
					}
					return nil
				})
			}
			testserver.Eventually(t, "/readyz says what is missing and why", func() bool {
				status, answer := s.ask(http.MethodGet, "/readyz", "")
				return status == http.StatusServiceUnavailable &&
					strings.Contains(answer, "consumer event-worker of EVENTS: not pulling") &&
					strings.Contains(answer, "create consumer EVENTS/event-worker: where the consumer was is not known until Redis answers")
			})
			s.redis.Start()
			s.becomesReady()
			s.publish(1)
			testserver.Eventually(t, "all events are handled", func() bool { return len(s.handled()) == 8 })
			stop() // what is being handled again would be finished
			for id, n := range s.handled() {
				if n != 1 {
					t.Errorf("event %s was handled %d times", id, n)
				}
			}
		})
	}
}

// site is the servers of workers that run one after the other, and what their handlers have seen.
type site struct {
	t       *testing.T
	policy  limiter.Policy
	nats    *testserver.NATSServer
	redis   *testserver.RedisServer
	js      jetstream.JetStream
	address string // of the worker that was started last
	events  int    // that were published

	mu   sync.Mutex     // protects runs
	runs map[string]int // of the handler of events, by event ID
}

func newSite(t *testing.T, policy limiter.Policy) *site {
	t.Helper()
	s := &site{
		t: t, policy: policy, runs: map[string]int{},
		nats: testserver.NATS(t), redis: testserver.Redis(t, "--appendonly", "yes", "--appendfsync", "always"),
	}
	s.js = testserver.JetStream(t, s.nats.Connect(t))
	return s
}

// run runs a worker until the returned function is called.
func (s *site) run() (stop func()) {
	s.t.Helper()
	handlers := pipeline.NewHandlers()
	handlers.Command("ping", func(context.Context, *pipeline.Message) (any, error) { return "pong", nil })
	handlers.Eligibility("single", func(context.Context, *pipeline.Message) (any, error) { return "yes", nil })
	handlers.Event("member.join", func(_ context.Context, m *pipeline.Message) (any, error) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.runs[m.EventID]++
		return "seen", nil
	})
	o := Options{
		NATS: s.nats.Connect(s.t), Redis: s.redis.Client(s.t), HTTP: listen(s.t), Handlers: handlers, OnRedisDown: s.policy,
		Streams: streams.Options{Storage: jetstream.MemoryStorage},
	}
	s.address = "http://" + o.HTTP.Addr().String()
	w, err := New(o)
	if err != nil {
		s.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := w.Run(ctx); err != nil {
			s.t.Errorf("Run: %v", err)
		}
	})
	stop = func() { cancel(); wg.Wait() }
	s.t.Cleanup(stop)
	return stop
}

// publish stores n events with IDs of their own.
func (s *site) publish(n int) {
	s.t.Helper()
	for range n {
		s.events++
		event := fmt.Appendf(nil, `{"event_id":"e%d","event_type":"member.join","guild_id":"c1","data":{}}`, s.events)
		if _, err := s.js.Publish(s.t.Context(), "events.member.join", event); err != nil {
			s.t.Fatal(err)
		}
	}
}

// handled is how often each event was handled.
func (s *site) handled() map[string]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.runs)
}

// ask sends a request to the worker.
func (s *site) ask(method, path, body string) (status int, answer string) {
	s.t.Helper()
	r, err := http.NewRequestWithContext(s.t.Context(), method, s.address+path, strings.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	client := &http.Client{Timeout: testserver.Patience, Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(r)
	if err != nil {
		s.t.Fatal(err)
	}
	defer resp.Body.Close() //nolint:errcheck // only read
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return resp.StatusCode, string(text)
}

func (s *site) becomesReady() {
	s.t.Helper()
	testserver.Eventually(s.t, "the worker is ready", func() bool {
		status, _ := s.ask(http.MethodGet, "/readyz", "")
		return status == http.StatusOK
	})
}
