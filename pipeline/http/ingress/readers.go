package ingress

import (
	"container/list"
	"net/http"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"arrakis/pipeline/http/problem"
)

// readers are the requests whose bodies are being read. Clients decide how long that takes, so these requests hold no
// place in flight, and one more than the bound cuts off the one that has been read for the longest. Bodies that never
// come therefore cannot keep out those that come at once, however many clients send them.
type readers struct {
	bound int              // read-only, 1 or more
	count prometheus.Gauge // of bodies being read

	mu     sync.Mutex
	active list.List // of *reader; the first has been read for the longest
}

// reader is one request in readers.
type reader struct {
	connection *http.ResponseController
	place      *list.Element // in active; protected by readers.mu
	// cut is set, under readers.mu, if the reader has lost its place. It is closed when nothing uses connection any more,
	// which must not be used after the request has ended.
	cut chan struct{}
}

// begin counts the request of w as being read. The caller must call end when the body is there, or never will be.
func (rs *readers) begin(w http.ResponseWriter) *reader {
	r := &reader{connection: http.NewResponseController(w)}
	var slowest *reader
	rs.mu.Lock()
	if rs.active.Len() >= rs.bound {
		slowest, _ = rs.active.Remove(rs.active.Front()).(*reader)
		slowest.cut = make(chan struct{})
	} else {
		rs.count.Inc()
	}
	r.place = rs.active.PushBack(r)
	rs.mu.Unlock()
	if slowest != nil {
		// An error means that the connection is gone, or has no deadlines, as in tests: then it is read to its end.
		_ = slowest.connection.SetReadDeadline(time.Unix(1, 0))
		close(slowest.cut)
	}
	return r
}

// end reports whether r was cut off. If it was, its connection cannot be read any more.
func (rs *readers) end(r *reader) (cut bool) {
	rs.mu.Lock()
	if r.cut == nil {
		rs.active.Remove(r.place)
		rs.count.Dec()
	}
	rs.mu.Unlock()
	if r.cut == nil {
		return false
	}
	<-r.cut
	return true
}

// tooSlow is the problem of a request that was cut off.
func tooSlow() *problem.Problem {
	return problem.New(http.StatusRequestTimeout, "body-timed-out",
		"Too many requests were being read, and the body of this one came too slowly. Nothing was stored; repeat the request.")
}
