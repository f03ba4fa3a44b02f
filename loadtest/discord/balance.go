package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync/atomic"
	"time"
)

// balancer is the load balancer between Discord and the workers: an http.RoundTripper that sends each request to the next
// worker, and to the one behind it if a connection cannot be made. A request that may have been sent is sent again only if
// repeat says so. It is safe for concurrent use.
type balancer struct {
	workers []string // host and port
	repeat  bool
	next    atomic.Uint64
	base    *http.Transport

	refused  atomic.Int64 // connections that could not be made
	repeated atomic.Int64 // requests that were sent again
}

func newBalancer(workers []string, repeat bool) *balancer {
	return &balancer{workers: workers, repeat: repeat, base: &http.Transport{
		DialContext: (&net.Dialer{Timeout: time.Second}).DialContext, MaxIdleConnsPerHost: 4_096,
	}}
}

// RoundTrip implements http.RoundTripper.
func (b *balancer) RoundTrip(r *http.Request) (*http.Response, error) {
	first := b.next.Add(1)
	var err error
	for i := range uint64(len(b.workers)) {
		again, copied := r.Clone(r.Context()), error(nil)
		if again.Body, copied = body(r); copied != nil {
			return nil, copied
		}
		again.URL.Host = b.workers[(first+i)%uint64(len(b.workers))]
		var response *http.Response
		if response, err = b.base.RoundTrip(again); err == nil {
			return response, nil
		}
		switch {
		case r.Context().Err() != nil:
			return nil, err
		case notSent(err):
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
