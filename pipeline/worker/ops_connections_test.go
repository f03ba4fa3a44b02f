package worker

import (
	"errors"
	"net"
	"net/http"
	"os"
	"sync"
	"testing"
	"time"

	"arrakis/loadtest/testserver"
)

// TestInvariantBoundedOpsConnections checks I6: anybody who reaches the ops address could open connections without end.
func TestInvariantBoundedOpsConnections(t *testing.T) {
	l := listen(t)
	w := newWorker(t, Options{Ops: l})
	w.opsServer.ReadTimeout, w.opsServer.ReadHeaderTimeout = 10*time.Minute, 10*time.Minute // so that only the bound helps
	var serving sync.WaitGroup
	serving.Go(func() { _ = w.opsServer.Serve(l) }) // http.ErrServerClosed
	defer serving.Wait()
	defer w.opsServer.Close() //nolint:errcheck // nothing is written
	open := func() net.Conn {
		c, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		return c
	}
	first := open()
	for range maxOpsConnections {
		open()
	}
	_ = first.SetReadDeadline(time.Now().Add(testserver.Patience))
	if _, err := first.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("the first connection, on which no request came, is still open: %v", err)
	}
	r, err := http.Get("http://" + l.Addr().String() + "/healthz")
	if err != nil {
		t.Fatal(err)
	}
	_ = r.Body.Close()
	if r.StatusCode != http.StatusOK {
		t.Errorf("an honest request: %d", r.StatusCode)
	}
	http.DefaultClient.CloseIdleConnections()
}
