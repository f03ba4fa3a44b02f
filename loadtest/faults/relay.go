package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"strconv"
	"sync"

	"golang.org/x/sync/errgroup"
)

// relay stands on a worker's side of its connections to NATS and reads what the worker publishes, before it passes it
// on. So what a worker has said is known even if the network, the server or the worker is lost right after it.
type relay struct {
	listener net.Listener
	upstream string // address, that of a proxy with faults
	// publish is called with everything that the worker publishes, before it is passed on: the subject, and headers and
	// body. It must not keep content. If it returns false, the message and the connection go no further.
	publish func(subject string, content []byte) bool

	mu     sync.Mutex            // protects the fields below
	conns  map[net.Conn]struct{} // both ends
	closed bool
	g      errgroup.Group
}

// newRelay starts a relay.
func newRelay(upstream string, publish func(string, []byte) bool) (*relay, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	r := &relay{listener: l, upstream: upstream, publish: publish, conns: map[net.Conn]struct{}{}}
	r.g.Go(func() error {
		for {
			client, err := l.Accept()
			if err != nil {
				return nil //nolint:nilerr // closed
			}
			r.g.Go(func() error { r.serve(client); return nil })
		}
	})
	return r, nil
}

func (r *relay) addr() string { return r.listener.Addr().String() }

// close ends all connections and waits.
func (r *relay) close() {
	_ = r.listener.Close() // it only ends Accept
	r.mu.Lock()
	r.closed = true
	for c := range r.conns {
		_ = c.Close() // whoever uses it sees the error
	}
	r.mu.Unlock()
	_ = r.g.Wait() // returns nil only
}

// hold notes a connection to be closed with the relay.
func (r *relay) hold(c net.Conn) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.conns[c] = struct{}{}
	if r.closed {
		_ = c.Close() // whoever uses it sees the error
	}
}

func (r *relay) release(c net.Conn) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.conns, c)
	_ = c.Close() // nothing is sent any more
}

// serve passes on one connection, until either end closes it.
func (r *relay) serve(client net.Conn) {
	r.hold(client)
	defer r.release(client)
	server, err := net.Dial("tcp", r.upstream)
	if err != nil {
		return // as if nobody listened
	}
	r.hold(server)
	defer r.release(server)
	var down errgroup.Group
	down.Go(func() error {
		_, _ = io.Copy(client, server) // the end of either connection ends the other
		_ = client.Close()             // so that the loop below ends
		return nil
	})
	_ = r.read(client, server) // the end of either connection ends the other
	_ = server.Close()         // so that the copy ends
	_ = down.Wait()            // returns nil only
}

// read passes on what the worker sends, in the client protocol of NATS: lines, of which PUB and HPUB announce content.
func (r *relay) read(client io.Reader, server io.Writer) error {
	in, out := bufio.NewReaderSize(client, 64<<10), bufio.NewWriterSize(server, 64<<10)
	var content []byte
	for {
		line, err := in.ReadSlice('\n')
		if err != nil {
			return err
		}
		subject, size, err := published(line)
		if err != nil {
			return err
		}
		if _, err := out.Write(line); err != nil {
			return err
		}
		if subject != "" {
			content = append(content[:0], make([]byte, size+2)...) // and the end of the line
			if _, err := io.ReadFull(in, content); err != nil {
				return err
			}
			if !r.publish(subject, content[:size]) {
				return nil
			}
			if _, err := out.Write(content); err != nil {
				return err
			}
		}
		if in.Buffered() == 0 {
			if err := out.Flush(); err != nil {
				return err
			}
		}
	}
}

// published returns the subject and the size of the content that a line announces, "" and 0 for other lines:
//
//	PUB subject [reply] size
//	HPUB subject [reply] size-of-headers size
func published(line []byte) (subject string, size int, err error) {
	fields := bytes.Fields(line)
	if len(fields) < 3 || !bytes.EqualFold(fields[0], []byte("PUB")) && !bytes.EqualFold(fields[0], []byte("HPUB")) {
		return "", 0, nil
	}
	size, err = strconv.Atoi(string(fields[len(fields)-1]))
	if err != nil || size < 0 || size > 64<<20 {
		return "", 0, fmt.Errorf("line %q of a client", line)
	}
	return string(fields[1]), size, nil
}
