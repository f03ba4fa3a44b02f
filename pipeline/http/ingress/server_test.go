package ingress

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"arrakis/loadtest/testserver"
)

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
	t.Parallel()
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
