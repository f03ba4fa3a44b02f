package ingress

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"arrakis/loadtest/testserver"
	"arrakis/pipeline/contract"
)

// slow sends the beginning of a request. The rest of its body never comes.
func slow(ctx context.Context, address string) (net.Conn, error) {
	var d net.Dialer
	c, err := d.DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	_, err = io.WriteString(c, "POST /v1/commands HTTP/1.1\r\nHost: x\r\nContent-Length: 60000\r\n\r\n{")
	return c, err
}

// reading is the number of bodies being read.
func (b *bed) reading() int {
	b.in.readers.mu.Lock()
	defer b.in.readers.mu.Unlock()
	return b.in.readers.active.Len()
}

// TestF15SlowBodies: clients that announce a body and do not send it took all places in flight, so that everybody else
// was refused for 10 s at a time. Here thousands of them take no place, and the ingress serves whoever sends a body,
// while more slow ones come.
func TestF15SlowBodies(t *testing.T) {
	const bound, attackers, more = 2_000, 3_000, 1_000
	b := newBed(t, func(o *Options) { o.MaxInFlight, o.MaxReading = bound, bound })
	b.work(t, always(`{"status":"ok"}`))
	s := b.in.Server(b.in.Handler())
	s.ReadTimeout, s.ReadHeaderTimeout = 10*time.Minute, 10*time.Minute // so that only the bound helps
	b.serve(t, s)
	address := strings.TrimPrefix(b.url, "http://")

	connections := make([]net.Conn, 0, attackers+more)
	t.Cleanup(func() {
		for _, c := range connections {
			_ = c.Close() // the server may have closed it
		}
	})
	attack := func(n int) {
		for range n {
			c, err := slow(t.Context(), address)
			if c != nil {
				connections = append(connections, c)
			}
			if err != nil {
				t.Errorf("after %d slow requests: %v", len(connections), err)
				return
			}
		}
	}
	attack(attackers)
	testserver.Eventually(t, "as many bodies are read as may be", func() bool { return b.reading() == bound })
	var attacking sync.WaitGroup
	attacking.Go(func() { attack(more) })
	for range 100 {
		if r := b.post(t, "/v1/commands", good); r.code != http.StatusOK {
			t.Fatalf("an honest request: %d %s", r.code, r.body)
		}
	}
	attacking.Wait()
	if inFlight, _ := b.counts(); inFlight != 0 {
		t.Errorf("%d slow requests are in flight", inFlight)
	}

	// The first is the one that was read for the longest.
	if err := connections[0].SetReadDeadline(time.Now().Add(testserver.Patience)); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(connections[0]), nil)
	if err != nil {
		t.Fatalf("the slowest: %v", err)
	}
	defer resp.Body.Close() //nolint:errcheck // only read
	if resp.StatusCode != http.StatusRequestTimeout || !resp.Close {
		t.Errorf("the slowest: %s, close %v", resp.Status, resp.Close)
	}
	// The worker acknowledges a message after its outcome.
	testserver.Eventually(t, "no message is left in the stream", func() bool { return b.stored(t, contract.StreamCommands) == 0 })
}

// TestF15SlowStreams is the same over HTTP/2, where many slow bodies share a connection.
func TestF15SlowStreams(t *testing.T) {
	const bound, attackers = 8, 100
	b := newBed(t, func(o *Options) { o.MaxInFlight, o.MaxReading = bound, bound })
	b.work(t, always(`{"status":"ok"}`))
	s := b.in.Server(b.in.Handler())
	s.ReadTimeout, s.ReadHeaderTimeout = 10*time.Minute, 10*time.Minute
	s.Protocols = new(http.Protocols)
	s.Protocols.SetUnencryptedHTTP2(true)
	b.serve(t, s)
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	transport := &http.Transport{Protocols: protocols}
	t.Cleanup(transport.CloseIdleConnections)
	h2 := &http.Client{Transport: transport}

	ctx, leave := context.WithCancel(t.Context())
	var attacking sync.WaitGroup
	cut := make(chan int, attackers)
	for range attackers {
		body, never := io.Pipe()
		attacking.Go(func() {
			_, _ = io.WriteString(never, "{") // fails when the request has ended
		})
		attacking.Go(func() {
			defer body.Close() //nolint:errcheck // never fails
			resp, err := h2.Do(b.request(t, http.MethodPost, "/v1/commands", body).WithContext(ctx))
			if err != nil {
				if ctx.Err() == nil {
					t.Errorf("a slow stream: %v", err)
					cut <- 0
				}
				return
			}
			defer resp.Body.Close() //nolint:errcheck // not read
			cut <- resp.StatusCode
		})
	}
	t.Cleanup(attacking.Wait)
	t.Cleanup(leave)
	for range attackers - bound {
		if code := <-cut; code != http.StatusRequestTimeout {
			t.Errorf("a slow stream: %d", code)
		}
	}
	for range 100 {
		r := b.request(t, http.MethodPost, "/v1/commands", strings.NewReader(good))
		resp, err := h2.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		if err != nil || resp.StatusCode != http.StatusOK || resp.Proto != "HTTP/2.0" {
			t.Errorf("an honest request: %s %s %s, %v", resp.Proto, resp.Status, body, err)
		}
		_ = resp.Body.Close() // read
	}
}

// TestReaders: the one that is cut off is the first that still reads, and only when one more begins than may be.
func TestReaders(t *testing.T) {
	rs := &readers{bound: 2, count: newMetrics(nil).reading}
	begin := func() *reader { return rs.begin(nil) }
	first := begin()
	second := begin()
	if rs.end(first) {
		t.Error("cut off without need")
	}
	third := begin()
	fourth := begin() // cuts off the second
	if !rs.end(second) || rs.end(third) || rs.end(fourth) {
		t.Error("not the slowest is cut off")
	}
	if n := rs.active.Len(); n != 0 {
		t.Errorf("%d are left", n)
	}
}
