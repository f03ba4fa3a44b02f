package ingress

import (
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"arrakis/loadtest/testserver"
)

// TestInvariantBoundedConnections checks I6: connections on which no request comes make room for others, the longest
// first, and a connection whose request is being handled stays.
func TestInvariantBoundedConnections(t *testing.T) {
	const bound, attackers = 100, 500
	b := newBed(t, func(o *Options) { o.MaxConnections = bound })
	s := b.in.Server(b.in.Handler())
	s.ReadTimeout, s.ReadHeaderTimeout = 10*time.Minute, 10*time.Minute // so that only the bound helps
	b.serve(t, s)
	held := b.hold(t.Context(), t)

	address := strings.TrimPrefix(b.url, "http://")
	connections := make([]net.Conn, attackers)
	for i := range connections {
		beginning := []string{"", "P", "POST /v1/commands HTTP/1.1\r\nHost: "}[i%3]
		connections[i] = dial(t, address, beginning)
	}
	for _, c := range connections[:attackers-bound] {
		_ = c.SetReadDeadline(time.Now().Add(testserver.Patience)) // fails if it is closed
		if _, err := c.Read(make([]byte, 1)); err == nil || strings.Contains(err.Error(), "timeout") {
			t.Fatalf("a connection without a request is still open: %v", err)
		}
	}
	b.work(t, always(`{"status":"ok"}`))
	if r := <-held; r.code != http.StatusOK {
		t.Errorf("the request that waited: %d %s", r.code, r.body)
	}
	for range 20 {
		if r := b.post(t, "/v1/commands", good); r.code != http.StatusOK {
			t.Fatalf("an honest request: %d %s", r.code, r.body)
		}
	}
}
