package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"arrakis/loadtest/program"
)

// balancer is the load balancer between Discord and the workers: an http.RoundTripper that sends each request to the next
// worker, and to the one behind it if a connection cannot be made. A worker whose connection is refused gets no requests
// until it is ready. A request that may have been sent is sent again only if repeat says so. It is safe for concurrent use.
type balancer struct {
	backends []*backend
	repeat   bool
	next     atomic.Uint64
	base     *http.Transport

	refused  atomic.Int64 // connections that could not be made
	repeated atomic.Int64 // requests that were sent again
}

// backend is a worker, as the balancer knows it.
type backend struct {
	addr string // host and port
	down atomic.Bool
}

func newBalancer(addrs []string, repeat bool) *balancer {
	b := &balancer{repeat: repeat, base: &http.Transport{
		DialContext: (&net.Dialer{Timeout: time.Second}).DialContext, MaxIdleConnsPerHost: 4_096,
	}}
	for _, addr := range addrs {
		b.backends = append(b.backends, &backend{addr: addr})
	}
	return b
}

// check looks after the workers that are down, until ctx ends: whoever is ready gets requests again.
func (b *balancer) check(ctx context.Context, ready func(ctx context.Context, addr string) error) {
	for program.Pause(ctx, 100*time.Millisecond) == nil {
		for _, worker := range b.backends {
			if worker.down.Load() && ready(ctx, worker.addr) == nil {
				worker.down.Store(false)
			}
		}
	}
}

// RoundTrip implements http.RoundTripper.
func (b *balancer) RoundTrip(r *http.Request) (*http.Response, error) {
	first := b.next.Add(1)
	err := errors.New("all are down")
	for i := range uint64(len(b.backends)) {
		worker := b.backends[(first+i)%uint64(len(b.backends))]
		if worker.down.Load() {
			continue
		}
		again, copied := r.Clone(r.Context()), error(nil)
		if again.Body, copied = body(r); copied != nil {
			return nil, copied
		}
		again.URL.Host = worker.addr
		var response *http.Response
		if response, err = b.base.RoundTrip(again); err == nil {
			return response, nil
		}
		switch {
		case r.Context().Err() != nil:
			return nil, err
		case notSent(err):
			worker.down.Store(true)
			b.refused.Add(1)
		case b.repeat:
			b.repeated.Add(1)
		default:
			return nil, err
		}
	}
	return nil, fmt.Errorf("no worker takes it: %w", err)
}

// body returns the request's body, once more.
func body(r *http.Request) (io.ReadCloser, error) {
	if r.GetBody == nil {
		return r.Body, nil
	}
	return r.GetBody()
}

// notSent reports whether nothing of a request was sent, because a connection could not be made.
func notSent(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "dial"
}

// CloseIdleConnections closes what http.Client.CloseIdleConnections asks for.
func (b *balancer) CloseIdleConnections() { b.base.CloseIdleConnections() }
