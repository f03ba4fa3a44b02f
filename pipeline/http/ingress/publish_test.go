package ingress

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"arrakis/loadtest/testserver"
	"arrakis/pipeline/contract"
	"arrakis/pipeline/lanes"
)

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

func TestNotStored(t *testing.T) {
	t.Parallel()
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
	t.Parallel()
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

// TestF5FullStreamIs503 guards against F5: a full stream refuses the next message instead of evicting an old one, and
// the client is told when to come back.
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
	commands := b.in.storing[contract.StreamCommands]
	commands.failed.Store(0) // long ago
	if r := b.post(t, "/v1/events", good); r.code != http.StatusAccepted || !commands.failing.Load() {
		t.Errorf("an event: %d %s; the log says that commands are stored again: %t", r.code, r.body, !commands.failing.Load())
	}
	b.work(t, always(`{"status":"ok"}`)) // takes the first message, so there is room again
	testserver.Eventually(t, "messages are stored again", func() bool {
		return b.post(t, "/v1/commands", good).code == http.StatusOK
	})
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
		{&storeError{lanes.ErrFull}, 503},
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
