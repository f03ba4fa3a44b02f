package connections

import (
	"context"
	"io"
	"net"
	"net/http"
	"testing"
	"time"
)

// TestConnections: which connection is closed.
func TestConnections(t *testing.T) {
	cs := &connections{bound: 2}
	s := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.NotFoundHandler()}
	cs.limit(s)
	open := func() (*connection, net.Conn) {
		server, client := net.Pipe()
		t.Cleanup(func() { _ = server.Close() })
		c, _ := s.ConnContext(context.Background(), server).Value(connectionKey{}).(*connection)
		return c, client
	}
	isClosed := func(client net.Conn) bool {
		_ = client.SetReadDeadline(time.Now().Add(time.Millisecond))
		_, err := client.Read(make([]byte, 1))
		return err == io.EOF //nolint:errorlint // of a pipe
	}
	first, firstClient := open()
	second, secondClient := open()
	cs.begin(first)
	cs.begin(first) // over HTTP/2
	cs.end(first)
	third, thirdClient := open() // the second waits, and the first has a request
	if isClosed(firstClient) || !isClosed(secondClient) {
		t.Error("not the one that waits is closed")
	}
	cs.closed(second.Conn) // as its server does
	cs.begin(third)
	if _, client := open(); !isClosed(client) {
		t.Error("no connection waits, and the new one is not closed")
	}
	cs.end(first)
	cs.end(third)
	open()
	if !isClosed(firstClient) || isClosed(thirdClient) {
		t.Error("not the one that has waited for the longest is closed")
	}
	if len(cs.open) != 2 || cs.waiting.Len() != 2 {
		t.Errorf("%d are open, %d wait", len(cs.open), cs.waiting.Len())
	}
	cs.closed(first.Conn)
	cs.closed(third.Conn)
	cs.end(&connection{Conn: third.Conn, requests: 1}) // a request of a connection that is closed
	if len(cs.open) != 1 || cs.waiting.Len() != 1 {
		t.Errorf("%d are open, %d wait", len(cs.open), cs.waiting.Len())
	}
}
