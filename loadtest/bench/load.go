package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"arrakis/loadtest/bench/workload"
)

const (
	// connections are how many the load keeps open.
	connections = 100
	// ratePerSecond is the fixed rate at which latency is measured.
	ratePerSecond = 1_000
	// replyWithin is how long a request may take.
	replyWithin = 10 * time.Second
)

// load sends requests to one server, each with a message of its own for one of the unlimited communities.
type load struct {
	addr string
	run  uint32
	next atomic.Int64
}

// client is one connection. It is used by one goroutine. net/http's client would use as much CPU as the servers that
// are measured.
type client struct {
	load    *load
	conn    net.Conn
	replies *bufio.Reader
	request bytes.Buffer
}

func (l *load) dial(ctx context.Context) (*client, error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", l.addr)
	if err != nil {
		return nil, err
	}
	return &client{load: l, conn: conn, replies: bufio.NewReader(conn)}, nil
}

// post sends one request and reads its answer, which must be 200.
func (c *client) post() error {
	const unlimited = 10 // the first communities of workload.Tiers
	n := int(c.load.next.Add(1))
	c.request.Reset()
	fmt.Fprintf(&c.request, "POST /v1/commands HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n",
		workload.MessageSize)
	c.request.Write(workload.Message(c.load.run, n, n%unlimited))
	if err := c.conn.SetDeadline(time.Now().Add(replyWithin)); err != nil {
		return err
	}
	if _, err := c.conn.Write(c.request.Bytes()); err != nil {
		return fmt.Errorf("send a request: %w", err)
	}
	reply, err := http.ReadResponse(c.replies, nil)
	if err != nil {
		return fmt.Errorf("read an answer: %w", err)
	}
	body, err := io.ReadAll(reply.Body)
	if err != nil {
		return fmt.Errorf("read an answer: %w", err)
	}
	if reply.StatusCode != http.StatusOK {
		return fmt.Errorf("answered %s: %s", reply.Status, body)
	}
	return reply.Body.Close()
}

// each runs f for every connection at once.
func (l *load) each(ctx context.Context, f func(*client) error) error {
	var g errgroup.Group
	for range connections {
		g.Go(func() error {
			c, err := l.dial(ctx)
			if err != nil {
				return err
			}
			defer func() { _ = c.conn.Close() }() // all answers have been read
			return f(c)
		})
	}
	return g.Wait()
}

// saturate sends the next request of a connection when the last is answered, for d, and returns how many were answered
// a second.
func (l *load) saturate(ctx context.Context, d time.Duration) (float64, error) {
	var answered atomic.Int64
	began := time.Now()
	err := l.each(ctx, func(c *client) error {
		for time.Since(began) < d && ctx.Err() == nil {
			if err := c.post(); err != nil {
				return err
			}
			answered.Add(1)
		}
		return ctx.Err()
	})
	return float64(answered.Load()) / time.Since(began).Seconds(), err
}

// pace sends requests at ratePerSecond for d, whether or not those before are answered, and returns the latencies,
// sorted. A request's time counts from when it was due, so that a server which stalls cannot slow the questions down.
func (l *load) pace(ctx context.Context, d time.Duration) ([]time.Duration, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	total := int(d.Seconds() * ratePerSecond)
	latencies := make([]time.Duration, total)
	due := make(chan int, connections) // requests by number; when it is full they are late, and counted so
	began := time.Now()
	at := func(n int) time.Time { return began.Add(time.Duration(n) * time.Second / ratePerSecond) }
	var g errgroup.Group
	g.Go(func() error {
		defer close(due)
		for n := range total {
			select {
			case <-time.After(time.Until(at(n))):
			case <-ctx.Done():
				return ctx.Err()
			}
			select {
			case due <- n:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		return nil
	})
	g.Go(func() error {
		err := l.each(ctx, func(c *client) error {
			for n := range due {
				if err := c.post(); err != nil {
					return err
				}
				latencies[n] = time.Since(at(n))
			}
			return nil
		})
		if err != nil {
			cancel()
		}
		return err
	})
	err := g.Wait()
	slices.Sort(latencies)
	return latencies, err
}

// percentile is the value that a share of the sorted values does not exceed.
func percentile(sorted []time.Duration, share float64) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[min(int(share*float64(len(sorted))), len(sorted)-1)]
}
