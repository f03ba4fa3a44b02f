package ingress

import (
	"context"
	"net/http"
	"strings"
	"testing"

	"arrakis/loadtest/testserver"
)

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
