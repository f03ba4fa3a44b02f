package ingress

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"arrakis/loadtest/testserver"
	"arrakis/pipeline/contract"
)

// TestLateOutcome: after 504 the request counts as running, and when its outcome arrives the repeated request gets it.
func TestLateOutcome(t *testing.T) {
	t.Parallel()
	rdb := testserver.ConnectRedis(t, testserver.Miniredis(t).Addr())
	b := newBed(t, func(o *Options) {
		remembering(t, rdb)(o)
		o.Wait = time.Second
	})
	other := b.beside(t, remembering(t, rdb))
	for id, outcome := range map[string]string{"good": `{"status":"ok"}`, "refused": `{"status":"error","error":{"code":404,"message":"no"}}`} {
		body := fmt.Sprintf(`{"event_id":%q,"guild_id":"g"}`, id)
		if r := b.post(t, "/v1/commands", body); r.code != http.StatusGatewayTimeout {
			t.Fatalf("%d %s", r.code, r.body)
		}
		for _, b := range []*bed{b, other} {
			if r := b.post(t, "/v1/commands", body); r.code != http.StatusConflict {
				t.Errorf("while it runs: %d %s", r.code, r.body)
			}
		}
		b.workOnce(t, outcome)
		testserver.Eventually(t, "the outcome is known", func() bool {
			return other.post(t, "/v1/commands", body).code != http.StatusConflict
		})
		want := http.StatusOK
		if id == "refused" {
			want = http.StatusNotFound
		}
		if r := other.post(t, "/v1/commands", body); r.code != want || r.header.Get(replayedHeader) == "" {
			t.Errorf("afterwards: %d %v %s", r.code, r.header, r.body)
		}
	}
	if n := b.lates(); n != 0 {
		t.Errorf("%d late answers are waited for after all have come", n)
	}
}

// TestLateFailure: a message that fails after 504 may be tried again.
func TestLateFailure(t *testing.T) {
	t.Parallel()
	b := newBed(t, func(o *Options) {
		remembering(t, testserver.ConnectRedis(t, testserver.Miniredis(t).Addr()))(o)
		o.Wait = time.Second
	})
	if r := b.post(t, "/v1/commands", good); r.code != http.StatusGatewayTimeout {
		t.Fatalf("%d %s", r.code, r.body)
	}
	b.workOnce(t, `{"status":"error","error":{"code":500,"message":"no"}}`)
	testserver.Eventually(t, "the failure is known", func() bool { return b.lates() == 0 })
	b.work(t, always(`{"status":"ok"}`))
	testserver.Eventually(t, "the request is tried again", func() bool { return b.post(t, "/v1/commands", good).code == http.StatusOK })
}

// TestInvariantBoundedLate checks I4 and I6: late answers are bounded, for a community and for all, and end.
func TestInvariantBoundedLate(t *testing.T) {
	b := newBed(t, func(o *Options) {
		remembering(t, testserver.ConnectRedis(t, testserver.Miniredis(t).Addr()))(o)
		o.Wait, o.MaxInFlight = 300*time.Millisecond, 4
	})
	post := func(community string, i int) {
		body := fmt.Sprintf(`{"event_id":"%d","guild_id":%q}`, i, community)
		if r := b.post(t, "/v1/commands", body); r.code != http.StatusGatewayTimeout {
			t.Errorf("%s: %d %s", community, r.code, r.body)
		}
	}
	post("a", 1)
	post("a", 2) // is above the share of one
	if n := b.lates(); n != 1 {
		t.Errorf("%d late answers of one community, want its share of 1", n)
	}
	for _, community := range []string{"b", "c", "d", "e"} {
		post(community, 1)
	}
	if n := b.lates(); n != 4 {
		t.Errorf("%d late answers, want 4", n)
	}
	b.in.dropLate(time.Now().Add(lateFor - time.Minute))
	if n := b.lates(); n != 4 {
		t.Errorf("%d late answers are left before their time", n)
	}
	b.in.dropLate(time.Now().Add(lateFor + time.Minute))
	b.in.mu.Lock()
	defer b.in.mu.Unlock()
	if len(b.in.waiting) != 0 || b.in.numLate != 0 || len(b.in.latePerCommunity) != 0 {
		t.Errorf("%d waiters, %d late answers of %d communities are left after their time", len(b.in.waiting), b.in.numLate, len(b.in.latePerCommunity))
	}
}

// lates is how many late answers are waited for.
func (b *bed) lates() int {
	b.in.mu.Lock()
	defer b.in.mu.Unlock()
	return b.in.numLate
}

// workOnce handles the message that waits.
func (b *bed) workOnce(t *testing.T, outcome string) {
	t.Helper()
	c, err := b.js.CreateOrUpdateConsumer(t.Context(), contract.StreamCommands, jetstream.ConsumerConfig{Durable: "worker", AckPolicy: jetstream.AckExplicitPolicy})
	if err != nil {
		t.Fatal(err)
	}
	m, err := c.Next(jetstream.FetchMaxWait(testserver.Patience))
	if err == nil {
		err = b.worker.Publish(m.Headers().Get(contract.HeaderReplyTo), []byte(outcome))
	}
	if err == nil {
		err = m.DoubleAck(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
}
