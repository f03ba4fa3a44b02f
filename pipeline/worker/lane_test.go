package worker

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"arrakis/loadtest/testserver"
	"arrakis/pipeline"
	"arrakis/pipeline/contract"
	"arrakis/tenant"
)

// What comes over HTTP one after the other begins in that order, with one handler at a time for the community: through
// the stream, through a lane, and straight into the lane, once the ingress knows of it.
func TestOrderOverHTTPIntoALane(t *testing.T) {
	t.Parallel()
	backlog := make(chan struct{}) // closed when there is one, however slowly the requests come
	var mu sync.Mutex
	var order []int
	handlers := pipeline.NewHandlers()
	handlers.Command("work", func(ctx context.Context, m *pipeline.Message) (any, error) {
		var body struct {
			Data struct{ Options struct{ N int } }
		}
		err := json.Unmarshal(m.Body, &body)
		mu.Lock()
		order = append(order, body.Data.Options.N)
		mu.Unlock()
		select {
		case <-backlog:
			<-time.After(3 * time.Millisecond) // so that it lasts
		case <-ctx.Done():
		}
		return nil, err
	})
	l := listen(t)
	w := newWorker(t, Options{HTTP: l, Handlers: handlers, TenantConcurrency: 1, HandlerTimeout: testserver.Patience})
	if _, _, err := w.tenants.UpgradeTier(t.Context(), "big", tenant.Enterprise); err != nil {
		t.Fatal(err)
	}
	w.runReady(t)
	var direct atomic.Int64 // messages that the ingress has stored in the lane itself
	if _, err := w.o.NATS.Subscribe("overflow.>", func(m *nats.Msg) {
		if m.Header.Get(contract.HeaderStream) == "" {
			direct.Add(1)
		}
	}); err != nil {
		t.Fatal(err)
	}
	n := 0
	until := func(what string, reached func() bool) {
		t.Helper()
		testserver.Eventually(t, what, func() bool {
			for range 10 {
				post(t, "http://"+l.Addr().String(), fmt.Sprintf(`{"guild_id":"big","data":{"command_name":"work","options":{"n":%d}}}`, n))
				n++
			}
			return reached()
		})
	}
	until("there is a lane", func() bool { return w.stored(t, contract.StreamOverflow) > 0 })
	close(backlog)
	until("the ingress stores messages straight in the lane", func() bool { return direct.Load() > 500 })
	testserver.Eventually(t, "all are handled", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return len(order) == n
	})
	mu.Lock()
	defer mu.Unlock()
	for i, number := range order {
		if number != i {
			t.Fatalf("message %d began in place %d", number, i)
		}
	}
}

// A community that has its part of OVERFLOW is refused at the door, with 503 and Retry-After; others are not. What was
// accepted is handled.
func TestFullLaneOverHTTP(t *testing.T) {
	t.Parallel()
	gate := make(chan struct{})
	var handled atomic.Int64
	handlers := pipeline.NewHandlers()
	handlers.Command("work", func(ctx context.Context, m *pipeline.Message) (any, error) {
		if m.Community == "big" {
			select {
			case <-gate:
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		}
		handled.Add(1)
		return nil, nil
	})
	l := listen(t)
	w := newWorker(t, Options{HTTP: l, Handlers: handlers, HandlerTimeout: time.Minute})
	for _, unlimited := range []string{"big", "other"} {
		if _, _, err := w.tenants.UpgradeTier(t.Context(), unlimited, tenant.Enterprise); err != nil {
			t.Fatal(err)
		}
	}
	w.runReady(t)
	w.shrink(t, contract.StreamOverflow, 1<<20)

	url, options := "http://"+l.Addr().String(), strings.Repeat("x", 4_000)
	send := func(community string) (status int, retryAfter string) {
		body := fmt.Sprintf(`{"guild_id":%q,"data":{"command_name":"work","options":{"x":%q}}}`, community, options)
		return tryPost(t, url, body)
	}
	accepted, retryAfter := int64(0), ""
	testserver.Eventually(t, "the community is refused", func() bool {
		status, after := send("big")
		switch retryAfter = after; status {
		case http.StatusAccepted:
			accepted++
		case http.StatusServiceUnavailable:
			return true
		default:
			t.Fatalf("status %d", status)
		}
		return false
	})
	if seconds, err := strconv.Atoi(retryAfter); err != nil || seconds < 10 {
		t.Errorf("Retry-After is %q", retryAfter)
	}
	if status, _ := send("other"); status != http.StatusAccepted {
		t.Errorf("another community gets %d", status)
	}
	close(gate)
	testserver.Eventually(t, "what was accepted is handled", func() bool { return handled.Load() == accepted+1 })
}

// shrink gives a stream fewer bytes.
func (w *Worker) shrink(t *testing.T, stream string, bytes int64) {
	t.Helper()
	js, info := w.look(t, stream)
	c := info.Config
	c.MaxBytes = bytes
	if _, err := js.UpdateStream(t.Context(), c); err != nil {
		t.Fatal(err)
	}
}

// post stores a command, and does not wait for its outcome.
func post(t *testing.T, url, body string) {
	t.Helper()
	if status, _ := tryPost(t, url, body); status != http.StatusAccepted {
		t.Fatalf("status %d", status)
	}
}

// tryPost is post. It returns the status and the header Retry-After.
func tryPost(t *testing.T, url, body string) (status int, retryAfter string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url+"/v1/commands", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Prefer", "respond-async")
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close() //nolint:errcheck // it is not read
	return resp.StatusCode, resp.Header.Get("Retry-After")
}

// stored is how many messages a stream holds.
func (w *Worker) stored(t *testing.T, stream string) uint64 {
	t.Helper()
	_, info := w.look(t, stream)
	return info.State.Msgs
}

// look returns what JetStream says of a stream.
func (w *Worker) look(t *testing.T, stream string) (jetstream.JetStream, *jetstream.StreamInfo) {
	t.Helper()
	js, err := jetstream.New(w.o.NATS)
	if err != nil {
		t.Fatal(err)
	}
	s, err := js.Stream(t.Context(), stream)
	if err != nil {
		t.Fatal(err)
	}
	return js, s.CachedInfo()
}
