package testserver

import (
	"context"
	"net"
	"sync"
	"testing"
	"time"
)

// TCPProxy stands between a client and a server and can fail like a network. Any goroutine may call its methods.
type TCPProxy struct {
	target   string
	listener net.Listener
	wg       sync.WaitGroup // for the proxy's goroutines

	mu       sync.Mutex // protects the fields below
	refusing bool
	conns    map[*proxied]bool
	stalled  chan struct{} // closed by Resume; nil while bytes pass
	delay    time.Duration
}

// proxied is a connection through the proxy.
type proxied struct {
	client, server net.Conn
	ended          chan struct{} // closed when both connections are closed
	once           sync.Once     // closes the connections once

	silent bool // bytes are thrown away; protected by the proxy's mu
}

// Proxy starts a proxy to the target, a host:port, that ends with the test.
func Proxy(tb testing.TB, target string) *TCPProxy {
	tb.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	p := &TCPProxy{target: target, listener: l, conns: make(map[*proxied]bool)}
	ctx, cancel := context.WithCancel(context.Background())
	p.wg.Go(func() { p.accept(ctx) })
	tb.Cleanup(func() {
		cancel()
		_ = l.Close() // the listener may be closed already
		p.Refuse()
		p.wg.Wait()
	})
	return p
}

// Addr is the host:port that clients connect to.
func (p *TCPProxy) Addr() string { return p.listener.Addr().String() }

// Cut closes every connection, as a restart of the server does. New connections are accepted.
func (p *TCPProxy) Cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cutLocked()
}

// Refuse closes every connection. Until Accept, it also closes every new connection at once.
func (p *TCPProxy) Refuse() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.refusing = true
	p.cutLocked()
}

// Accept accepts new connections again.
func (p *TCPProxy) Accept() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.refusing = false
}

// Stall lets no byte pass until Resume or the end of the test. Connections stay open and new connections are accepted,
// but no answers arrive.
func (p *TCPProxy) Stall() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.stalled == nil {
		p.stalled = make(chan struct{})
	}
}

// Resume lets bytes pass again, also those that Stall has held back.
func (p *TCPProxy) Resume() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.stalled != nil {
		close(p.stalled)
		p.stalled = nil
	}
}

// Silence makes the existing connections throw away all further bytes, without closing them. New connections work.
func (p *TCPProxy) Silence() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		c.silent = true
	}
}

// Delay delays each piece of at most 32 KiB by d; the next piece starts when the piece before it has arrived. So a
// round trip takes 2d longer. Delay(0) ends the delay.
func (p *TCPProxy) Delay(d time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.delay = d
}

func (p *TCPProxy) accept(ctx context.Context) {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		p.wg.Go(func() { p.serve(ctx, client) })
	}
}

// serve copies in both directions until either side ends.
func (p *TCPProxy) serve(ctx context.Context, client net.Conn) {
	var d net.Dialer
	server, err := d.DialContext(ctx, "tcp", p.target)
	if err != nil {
		_ = client.Close() // so that the client notices
		return
	}
	c := &proxied{client: client, server: server, ended: make(chan struct{})}
	defer c.close()
	if !p.add(c) {
		return
	}
	defer p.remove(c)
	p.wg.Go(func() { p.copy(c, server, client) })
	p.copy(c, client, server)
}

// copy closes the connection at the end, so that both sides notice.
func (p *TCPProxy) copy(c *proxied, to, from net.Conn) {
	defer c.close()
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		if err != nil || !p.wait(c) {
			return
		}
		if p.isSilent(c) {
			continue
		}
		if _, err := to.Write(buf[:n]); err != nil {
			return
		}
	}
}

// wait waits until bytes may pass. It returns false if the connection has ended.
func (p *TCPProxy) wait(c *proxied) bool {
	p.mu.Lock()
	stalled, delay := p.stalled, p.delay
	p.mu.Unlock()
	if delay > 0 {
		late := time.NewTimer(delay)
		defer late.Stop()
		select {
		case <-late.C:
		case <-c.ended:
			return false
		}
	}
	if stalled != nil {
		select {
		case <-stalled:
		case <-c.ended:
			return false
		}
	}
	return true
}

func (p *TCPProxy) isSilent(c *proxied) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return c.silent
}

// add remembers a connection, unless the proxy refuses it.
func (p *TCPProxy) add(c *proxied) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.refusing {
		p.conns[c] = true
	}
	return !p.refusing
}

func (p *TCPProxy) remove(c *proxied) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.conns, c)
}

// cutLocked closes every connection. The caller must hold mu.
func (p *TCPProxy) cutLocked() {
	for c := range p.conns {
		c.close()
	}
}

func (c *proxied) close() {
	c.once.Do(func() {
		close(c.ended)
		_ = c.client.Close() // an error has no consequence
		_ = c.server.Close()
	})
}
