// Package connections bounds the open connections of a server, for both HTTP addresses.
package connections

import (
	"container/list"
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"sync"
)

// Limit makes the server s have at most bound open connections, 1 or more. One more closes the connection that has
// waited for a request for the longest. So clients that connect and send nothing, or send headers slowly, cannot keep
// out others. The server must not have been started, nor have a ConnContext or a ConnState.
func Limit(s *http.Server, bound int) { (&connections{bound: bound}).limit(s) }

// connections are the open connections of a server.
type connections struct {
	bound int // read-only, 1 or more

	mu      sync.Mutex
	open    map[net.Conn]*connection
	waiting list.List // of *connection without a request; the first has waited for the longest
}

// connection is one open connection. Its fields are protected by connections.mu.
type connection struct {
	net.Conn

	requests int           // being handled; over HTTP/2 there may be several
	place    *list.Element // in waiting; nil while there are requests
}

// limit makes the server s keep the bound.
func (cs *connections) limit(s *http.Server) {
	cs.open = make(map[net.Conn]*connection)
	next := s.Handler
	s.ConnContext = func(ctx context.Context, c net.Conn) context.Context {
		return context.WithValue(ctx, connectionKey{}, cs.opened(c))
	}
	s.ConnState = func(c net.Conn, state http.ConnState) {
		if state == http.StateClosed || state == http.StateHijacked {
			cs.closed(c)
		}
	}
	s.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if c, ok := r.Context().Value(connectionKey{}).(*connection); ok {
			cs.begin(c)
			defer cs.end(c)
		}
		next.ServeHTTP(w, r)
	})
}

// connectionKey is the key of a request's connection in its context.
type connectionKey struct{}

// opened counts a connection. If there are too many, it closes the one that has waited for the longest, or c if none
// waits.
func (cs *connections) opened(c net.Conn) *connection {
	added := &connection{Conn: c}
	cs.mu.Lock()
	added.place = cs.waiting.PushBack(added)
	cs.open[c] = added
	var surplus *connection
	if len(cs.open) > cs.bound {
		surplus, _ = cs.waiting.Front().Value.(*connection) // not empty: c is in it
		cs.removeLocked(surplus)
	}
	cs.mu.Unlock()
	if surplus != nil {
		surplus.cut()
	}
	return added
}

// closed forgets a connection, which may have been forgotten before.
func (cs *connections) closed(c net.Conn) {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	if known := cs.open[c]; known != nil {
		cs.removeLocked(known)
	}
}

// The caller of removeLocked must hold cs.mu.
func (cs *connections) removeLocked(c *connection) {
	delete(cs.open, c.Conn)
	if c.place != nil {
		cs.waiting.Remove(c.place)
		c.place = nil
	}
}

// begin says that a request has come, so that its connection does not wait.
func (cs *connections) begin(c *connection) {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	c.requests++
	if c.place != nil {
		cs.waiting.Remove(c.place)
		c.place = nil
	}
}

// end says that a request has its answer. Without another one its connection waits for the next.
func (cs *connections) end(c *connection) {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	c.requests--
	if c.requests == 0 && cs.open[c.Conn] == c {
		c.place = cs.waiting.PushBack(c)
	}
}

// cut closes the connection at once: TLS would wait for the other side to take its goodbye.
func (c *connection) cut() {
	conn := c.Conn
	if t, ok := conn.(*tls.Conn); ok {
		conn = t.NetConn()
	}
	_ = conn.Close() // the client may have closed it
}
