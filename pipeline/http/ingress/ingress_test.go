package ingress

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"arrakis/loadtest/testserver"
	"arrakis/pipeline/contract"
)

func TestOptions(t *testing.T) {
	_, err := New(Options{MaxBody: -1, Wait: -1, StoreTimeout: -1, DrainTimeout: -1, MaxInFlight: -1})
	if err == nil {
		t.Fatal("New took bad options")
	}
	for _, field := range []string{"NATS", "MaxBody", "Wait", "StoreTimeout", "DrainTimeout", "MaxInFlight"} {
		if !strings.Contains(err.Error(), field+" ") {
			t.Errorf("the error does not name %s: %v", field, err)
		}
	}
}

func TestRunTwice(t *testing.T) {
	b := newBed(t, nil)
	if err := b.in.Run(t.Context()); err == nil {
		t.Error("a second Run returned nil")
	}
}

// TestSharedInbox: no request makes a subscription of its own.
func TestSharedInbox(t *testing.T) {
	b := newBed(t, nil)
	b.work(t, always(`{"status":"ok"}`))
	b.post(t, "/v1/commands", good) // the first publish makes the one for acks
	before := b.server.Subscriptions()
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 25 {
				if r := b.post(t, "/v1/commands", good); r.code != http.StatusOK {
					t.Errorf("%d %s", r.code, r.body)
				}
			}
		})
	}
	wg.Wait()
	if after := b.server.Subscriptions(); after != before {
		t.Errorf("100 requests took the subscriptions from %d to %d", before, after)
	}
	if inFlight, waiting := b.counts(); inFlight != 0 || waiting != 0 {
		t.Errorf("%d in flight, %d waiting after all were answered", inFlight, waiting)
	}
}

// TestOwnOutcome: each of many concurrent requests gets its own outcome.
func TestOwnOutcome(t *testing.T) {
	b := newBed(t, nil)
	b.work(t, echo)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for j := range 25 {
				id := fmt.Sprintf(`"event_id":"%d.%d"`, i, j)
				if r := b.post(t, "/v1/commands", `{`+id+`,"guild_id":"g"}`); !strings.Contains(r.body, `"result":{`) || !strings.Contains(r.body, id) {
					t.Errorf("%s: %d %s", id, r.code, r.body)
				}
			}
		})
	}
	wg.Wait()
}

// TestOutcomeBeforeAck: the outcome proves that the message was stored. Here no ack ever comes, for a plain subscriber
// takes the stream's place.
func TestOutcomeBeforeAck(t *testing.T) {
	b := newBed(t, nil)
	if err := b.js.DeleteStream(t.Context(), contract.StreamCommands); err != nil {
		t.Fatal(err)
	}
	b.answerDirectly(t, 2)
	if r := b.post(t, "/v1/commands", good); r.code != http.StatusOK {
		t.Errorf("%d %s", r.code, r.body)
	}
	testserver.Eventually(t, "the repeated outcome is dropped", func() bool {
		return counter(t, b, "arrakis_ingress_unclaimed_outcomes_total") == 1
	})
}

// answerDirectly publishes n outcomes for each command, without any stream.
func (b *bed) answerDirectly(t *testing.T, n int) {
	t.Helper()
	_, err := b.worker.Subscribe("commands.>", func(m *nats.Msg) {
		for range n {
			if err := b.worker.Publish(m.Header.Get(contract.HeaderReplyTo), []byte(`{"status":"ok"}`)); err != nil {
				t.Error(err)
			}
		}
	})
	if err == nil {
		err = b.worker.Flush()
	}
	if err != nil {
		t.Fatal(err)
	}
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

func TestNotStored(t *testing.T) {
	notStored := func(t *testing.T, b *bed, path string) {
		t.Helper()
		r := b.post(t, path, good)
		if r.code != http.StatusServiceUnavailable || r.header.Get("Retry-After") != "2" ||
			problemOf(t, r).Type != "urn:arrakis:problem:not-stored" || !strings.Contains(r.body, `"event_id":"e1"`) {
			t.Errorf("%d %v %s", r.code, r.header, r.body)
		}
	}
	t.Run("no stream", func(t *testing.T) {
		b := newBed(t, nil)
		if err := b.js.DeleteStream(t.Context(), contract.StreamCommands); err != nil {
			t.Fatal(err)
		}
		notStored(t, b, "/v1/commands")
	})
	t.Run("no ack", func(t *testing.T) {
		b := newBed(t, func(o *Options) { o.StoreTimeout = 50 * time.Millisecond })
		if err := b.js.DeleteStream(t.Context(), contract.StreamCommands); err != nil {
			t.Fatal(err)
		}
		b.answerDirectly(t, 0)
		notStored(t, b, "/v1/commands")
	})
	t.Run("NATS away", func(t *testing.T) {
		b := newBed(t, nil)
		b.server.Stop()
		testserver.Eventually(t, "the connection is lost", func() bool { return !b.in.options.NATS.IsConnected() })
		notStored(t, b, "/v1/commands")
		if n, err := b.in.options.NATS.Buffered(); err == nil && n > 0 {
			t.Errorf("%d bytes are buffered for when NATS is back", n)
		}
	})
	t.Run("NATS lost while waiting", func(t *testing.T) {
		b := newBed(t, nil)
		if err := b.js.DeleteStream(t.Context(), contract.StreamCommands); err != nil {
			t.Fatal(err)
		}
		b.answerDirectly(t, 0)
		var wg sync.WaitGroup
		defer wg.Wait()
		wg.Go(func() { notStored(t, b, "/v1/commands") })
		testserver.Eventually(t, "the message is published", func() bool { return b.in.js.PublishAsyncPending() == 1 })
		b.server.Stop()
	})
}

func TestTooLargeForNATS(t *testing.T) {
	b := newBed(t, func(o *Options) { o.MaxBody = 4 << 20 })
	r := b.post(t, "/v1/commands", `{"guild_id":"g","x":"`+strings.Repeat("x", 2<<20)+`"}`)
	if r.code != http.StatusRequestEntityTooLarge || problemOf(t, r).Field != "body" {
		t.Errorf("%d %s", r.code, r.body)
	}
}

func TestNoOutcomeYet(t *testing.T) {
	b := newBed(t, func(o *Options) { o.Wait = 2 * time.Second })
	r := b.post(t, "/v1/commands", good, "X-Request-Id", "r1")
	checkGolden(t, "504", r)
	if n := b.stored(t, contract.StreamCommands); n != 1 {
		t.Errorf("%d messages are stored, want 1", n)
	}
	if _, waiting := b.counts(); waiting != 0 {
		t.Errorf("%d still wait", waiting)
	}
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

// TestInvariantBoundedInFlight checks I6: requests in flight are bounded; one more is refused at once.
func TestInvariantBoundedInFlight(t *testing.T) {
	b := newBed(t, func(o *Options) { o.MaxInFlight = 1 })
	held := b.hold(t.Context(), t)
	checkGolden(t, "503-busy", b.post(t, "/v1/commands", good, "X-Request-Id", "r1"))
	b.work(t, always(`{"status":"ok"}`))
	if r := <-held; r.code != http.StatusOK {
		t.Errorf("%d %s", r.code, r.body)
	}
	if r := b.post(t, "/v1/commands", good); r.code != http.StatusOK {
		t.Errorf("after the first has ended: %d %s", r.code, r.body)
	}
}

// TestInvariantIsolatedInFlight checks I4: a community that has its share in flight is refused, and the others are not.
func TestInvariantIsolatedInFlight(t *testing.T) {
	b := newBed(t, func(o *Options) { o.MaxInFlight = 4 })
	held := b.hold(t.Context(), t)
	checkGolden(t, "503-crowded", b.post(t, "/v1/commands", good, "X-Request-Id", "r1"))
	other := strings.ReplaceAll(good, "comm_099", "comm_098")
	if other == good {
		t.Fatalf("%s is not of comm_099", good)
	}
	if r := b.post(t, "/v1/commands", other, "Prefer", "respond-async"); r.code != http.StatusAccepted {
		t.Errorf("another community: %d %s", r.code, r.body)
	}
	b.work(t, always(`{"status":"ok"}`))
	if r := <-held; r.code != http.StatusOK {
		t.Errorf("%d %s", r.code, r.body)
	}
	testserver.Eventually(t, "nothing is counted any more", func() bool {
		b.in.mu.Lock()
		defer b.in.mu.Unlock()
		return len(b.in.perCommunity) == 0
	})
	if r := b.post(t, "/v1/commands", good); r.code != http.StatusOK {
		t.Errorf("after the first has ended: %d %s", r.code, r.body)
	}
}

// TestF5FullStreamIs503 guards against F5: a full stream refuses the next message instead of evicting an old one, and the
// client is told when to come back.
func TestF5FullStreamIs503(t *testing.T) {
	b := newBed(t, nil)
	s, err := b.js.Stream(t.Context(), contract.StreamCommands)
	if err != nil {
		t.Fatal(err)
	}
	full := s.CachedInfo().Config
	full.Discard, full.MaxMsgs = jetstream.DiscardNew, 1
	if _, err := b.js.UpdateStream(t.Context(), full); err != nil {
		t.Fatal(err)
	}
	if r := b.post(t, "/v1/commands", good, "Prefer", "respond-async"); r.code != http.StatusAccepted {
		t.Fatalf("the first message: %d %s", r.code, r.body)
	}
	checkGolden(t, "503-stream-full", b.post(t, "/v1/commands", good, "X-Request-Id", "r1"))
	b.work(t, always(`{"status":"ok"}`)) // takes the first message, so there is room again
	testserver.Eventually(t, "messages are stored again", func() bool {
		return b.post(t, "/v1/commands", good).code == http.StatusOK
	})
}

// TestDrain: after Run's context has ended new requests are refused, and the one that waits gets its outcome before Run
// returns.
func TestDrain(t *testing.T) {
	b := newBed(t, nil)
	held := b.hold(t.Context(), t)
	b.stop()
	testserver.Eventually(t, "the ingress drains", func() bool {
		return b.post(t, "/v1/commands", good).code == http.StatusServiceUnavailable
	})
	r := b.post(t, "/v1/commands", good, "X-Request-Id", "r1")
	checkGolden(t, "503-not-running", r)
	select {
	case err := <-b.ran:
		t.Fatalf("Run returned %v while a request waited", err)
	default:
	}
	b.work(t, always(`{"status":"ok"}`))
	if r := <-held; r.code != http.StatusOK {
		t.Errorf("%d %s", r.code, r.body)
	}
	if err := <-b.ran; err != nil {
		t.Errorf("Run: %v", err)
	}
}

// TestDrainTimeout: who still waits at the end of the drain is told that the message is stored.
func TestDrainTimeout(t *testing.T) {
	b := newBed(t, func(o *Options) { o.Wait, o.DrainTimeout = time.Minute, time.Second })
	held := b.hold(t.Context(), t)
	b.stop()
	testserver.Eventually(t, "the request is answered, long before Wait", func() bool { return len(held) == 1 })
	if r := <-held; r.code != http.StatusGatewayTimeout {
		t.Errorf("%d %s", r.code, r.body)
	}
	if err := <-b.ran; err != nil {
		t.Errorf("Run: %v", err)
	}
}

func TestBeforeRun(t *testing.T) {
	in, err := New(Options{NATS: connect(t, testserver.NATS(t))})
	if err != nil {
		t.Fatal(err)
	}
	b := &bed{in: in}
	b.serve(t, in.Server(in.Handler()))
	if r := b.post(t, "/v1/commands", good); r.code != http.StatusServiceUnavailable || r.header.Get("Retry-After") == "" {
		t.Errorf("%d %s", r.code, r.body)
	}
}

// TestClientGone: whoever leaves is counted, and takes nothing with them.
func TestClientGone(t *testing.T) {
	b := newBed(t, nil)
	ctx, leave := context.WithCancel(t.Context())
	held := b.hold(ctx, t)
	leave()
	if r, ok := <-held; ok {
		t.Fatalf("answered %d", r.code)
	}
	testserver.Eventually(t, "nothing is held for the client that left", func() bool {
		inFlight, waiting := b.counts()
		return inFlight == 0 && waiting == 0 && counter(t, b, "arrakis_ingress_client_gone_total") == 1
	})
}

func TestServerLimits(t *testing.T) {
	in, err := New(Options{NATS: connect(t, testserver.NATS(t)), Wait: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	s := in.Server(in.Handler())
	if s.ReadHeaderTimeout <= 0 || s.ReadTimeout <= 0 || s.IdleTimeout <= 0 || s.MaxHeaderBytes <= 0 || s.WriteTimeout < s.ReadTimeout+time.Minute {
		t.Errorf("limits: %v %v %v %v %v", s.ReadHeaderTimeout, s.ReadTimeout, s.IdleTimeout, s.MaxHeaderBytes, s.WriteTimeout)
	}
}

// TestSlowClient: one that dawdles over its headers or its body is cut off, and does not keep its place in flight. The
// limits are shortened, not removed.
func TestSlowClient(t *testing.T) {
	b := newBed(t, nil)
	s := b.in.Server(b.in.Handler())
	s.ReadHeaderTimeout, s.ReadTimeout = time.Second, 1500*time.Millisecond
	b.serve(t, s)
	address := strings.TrimPrefix(b.url, "http://")

	headers := dial(t, address, "POST /v1/commands HTTP/1.1\r\nHost: x\r\nContent-")
	if _, err := io.ReadAll(headers); err != nil { // ends when the server closes
		t.Errorf("slow headers: %v", err)
	}

	body := dial(t, address, "POST /v1/commands HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
	resp, err := http.ReadResponse(bufio.NewReader(body), nil)
	if err != nil {
		t.Fatalf("slow body: %v", err)
	}
	defer resp.Body.Close() //nolint:errcheck // only read
	if resp.StatusCode != http.StatusRequestTimeout || !resp.Close {
		t.Errorf("slow body: %s, close %v", resp.Status, resp.Close)
	}
	testserver.Eventually(t, "the slow client has no place", func() bool {
		inFlight, _ := b.counts()
		return inFlight == 0
	})
}

// dial connects, sends text, and gives reads a minute.
func dial(t *testing.T, address, text string) net.Conn {
	t.Helper()
	var d net.Dialer
	c, err := d.DialContext(t.Context(), "tcp", address)
	if err == nil {
		t.Cleanup(func() { _ = c.Close() }) // may be closed by the server
		_, err = io.WriteString(c, text)
	}
	if err == nil {
		err = c.SetReadDeadline(time.Now().Add(time.Minute))
	}
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestTruncatedBody(t *testing.T) {
	b := newBed(t, nil)
	c := dial(t, strings.TrimPrefix(b.url, "http://"), "POST /v1/commands HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n")
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close() //nolint:errcheck // only read
	if resp.StatusCode != http.StatusBadRequest {
		t.Errorf("broken chunks: %s", resp.Status)
	}
}

// TestUnanswered holds the errors, wrapped as they may be, against their status codes.
func TestUnanswered(t *testing.T) {
	in, err := New(Options{NATS: connect(t, testserver.NATS(t))})
	if err != nil {
		t.Fatal(err)
	}
	m := &message{msg: &nats.Msg{}}
	for _, tt := range []struct {
		err  error
		want int
	}{
		{&storeError{nats.ErrMaxPayload}, 413},
		{&storeError{nats.ErrDisconnected}, 503},
		{&storeError{jetstream.ErrTooManyStalledMsgs}, 503},
		{fmt.Errorf("wrapped: %w", &storeError{errors.New("any")}), 503},
		{fmt.Errorf("wrapped: %w", errNoOutcome), 504},
	} {
		if p := in.unanswered(m, tt.err); p == nil || p.Status != tt.want {
			t.Errorf("%v: %+v, want %d", tt.err, p, tt.want)
		}
	}
	if p := in.unanswered(m, context.Canceled); p != nil {
		t.Errorf("a client that left gets %+v", p)
	}
}

// BenchmarkIngress is a synchronous request, from the client to the outcome and back, with many under way.
func BenchmarkIngress(b *testing.B) {
	bed := newBed(b, nil)
	bed.work(b, always(`{"event_id":"e1","community_id":"comm_099","tier":"free","status":"ok","result":{"pong":true},`+limited+`}`))
	keepAlive := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 256}}
	defer keepAlive.CloseIdleConnections()
	b.SetParallelism(32)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			resp, err := keepAlive.Do(bed.request(b, http.MethodPost, "/v1/commands", strings.NewReader(good)))
			if err != nil {
				b.Error(err)
				return
			}
			if _, err := io.Copy(io.Discard, resp.Body); err != nil || resp.StatusCode != http.StatusOK {
				b.Errorf("%s, %v", resp.Status, err)
			}
			resp.Body.Close() //nolint:errcheck // only read
		}
	})
}
