package ingress

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"arrakis/loadtest/testserver"
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
	t.Parallel()
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
