package testserver_test

import (
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"arrakis/loadtest/testserver"
)

// echo listens and sends back what it receives.
func echo(t *testing.T) (addr string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				_, _ = io.Copy(c, c) // it ends with the connection
				_ = c.Close()
			})
		}
	})
	t.Cleanup(func() { _ = l.Close(); wg.Wait() })
	return l.Addr().String()
}

// caller is a client's connection.
type caller struct {
	*testing.T
	net.Conn
}

func call(t *testing.T, addr string) caller {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return caller{t, c}
}

func (c caller) say(text string) {
	c.Helper()
	if _, err := c.Write([]byte(text)); err != nil {
		c.Errorf("say %q: %v", text, err)
	}
}

// hears waits for as many bytes.
func (c caller) hears(want string) {
	c.Helper()
	got := make([]byte, len(want))
	if n, err := io.ReadFull(c.Conn, got); err != nil || string(got) != want {
		c.Errorf("heard %q, %v, want %q", got[:n], err, want)
	}
}

// isCut waits for the end of the connection.
func (c caller) isCut() {
	c.Helper()
	if n, err := c.Read(make([]byte, 1)); err == nil || n > 0 {
		c.Error("the connection is not cut")
	}
}

// hearsNothing listens for a moment; what it misses would be found by the next to hear.
func (c caller) hearsNothing() {
	c.Helper()
	if err := c.SetReadDeadline(time.Now().Add(20 * time.Millisecond)); err != nil {
		c.Fatal(err)
	}
	if n, err := c.Read(make([]byte, 1)); err == nil || n > 0 {
		c.Error("a byte passed")
	}
	if err := c.SetReadDeadline(time.Time{}); err != nil {
		c.Fatal(err)
	}
}

func TestProxyCuts(t *testing.T) {
	t.Parallel()
	p := testserver.Proxy(t, echo(t))
	first := call(t, p.Addr())
	first.say("a")
	first.hears("a")
	p.Cut()
	first.isCut()
	second := call(t, p.Addr())
	second.say("b")
	second.hears("b")
	p.Refuse()
	second.isCut()
	call(t, p.Addr()).isCut()
	p.Accept()
	third := call(t, p.Addr())
	third.say("c")
	third.hears("c")
}

func TestProxyStalls(t *testing.T) {
	t.Parallel()
	p := testserver.Proxy(t, echo(t))
	before := call(t, p.Addr())
	before.say("a")
	before.hears("a")
	p.Stall()
	p.Stall()
	during := call(t, p.Addr())
	for _, c := range []caller{before, during} {
		c.say("b")
		c.hearsNothing()
	}
	p.Resume()
	p.Resume()
	before.hears("b")
	during.hears("b")
	p.Stall() // the end of the test ends it
	before.say("c")
}

func TestProxySilences(t *testing.T) {
	t.Parallel()
	p := testserver.Proxy(t, echo(t))
	before := call(t, p.Addr())
	before.say("a")
	before.hears("a")
	p.Silence()
	before.say("b")
	before.hearsNothing()
	after := call(t, p.Addr())
	after.say("c")
	after.hears("c")
}

func TestProxyDelays(t *testing.T) {
	t.Parallel()
	const d = 30 * time.Millisecond
	p := testserver.Proxy(t, echo(t))
	p.Delay(d)
	c := call(t, p.Addr())
	start := time.Now()
	c.say("a")
	c.hears("a")
	if took := time.Since(start); took < 2*d {
		t.Errorf("a round trip took %v, want %v or more", took, 2*d)
	}
}

func TestProxyWithoutATarget(t *testing.T) {
	t.Parallel()
	call(t, testserver.Proxy(t, "127.0.0.1:1").Addr()).isCut()
}
