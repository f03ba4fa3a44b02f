package main

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"arrakis/loadtest/program"
)

// testWorker is a worker that counts the requests which reach it, and lets answer answer.
func testWorker(t *testing.T, answer http.HandlerFunc) (addr string, requests *atomic.Int64) {
	t.Helper()
	requests = new(atomic.Int64)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		requests.Add(1)
		answer(w, r)
	}))
	t.Cleanup(s.Close)
	return s.Listener.Addr().String(), requests
}

func fine(http.ResponseWriter, *http.Request) {}

// dies is what a request sees of a worker that is killed.
func dies(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }

// post sends a request through the balancer.
func post(t *testing.T, b *balancer) error {
	t.Helper()
	t.Cleanup(b.CloseIdleConnections)
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, endpoint, strings.NewReader("body"))
	if err != nil {
		t.Fatal(err)
	}
	response, err := (&http.Client{Transport: b}).Do(r)
	if err != nil {
		return err
	}
	return response.Body.Close()
}

func TestBalancerTakesWorkersInTurn(t *testing.T) {
	first, ofFirst := testWorker(t, fine)
	second, ofSecond := testWorker(t, fine)
	b := newBalancer([]string{first, second}, false)
	for range 6 {
		if err := post(t, b); err != nil {
			t.Fatal(err)
		}
	}
	if ofFirst.Load() != 3 || ofSecond.Load() != 3 {
		t.Errorf("%d and %d requests, want 3 each", ofFirst.Load(), ofSecond.Load())
	}
}

// A worker that is down costs nobody an answer, and when all are down the error says so.
func TestBalancerPassesOverWorkersThatAreDown(t *testing.T) {
	down, err := program.FreeAddr()
	if err != nil {
		t.Fatal(err)
	}
	up, requests := testWorker(t, fine)
	b := newBalancer([]string{down, up}, false)
	for range 4 {
		if err := post(t, b); err != nil {
			t.Fatal(err)
		}
	}
	if requests.Load() != 4 || b.refused.Load() != 1 || b.repeated.Load() != 0 {
		t.Errorf("%d requests, %d refused, %d repeated; want 4, 1, 0", requests.Load(), b.refused.Load(), b.repeated.Load())
	}
	var refused *net.OpError
	if err := post(t, newBalancer([]string{down}, false)); !errors.As(err, &refused) {
		t.Errorf("all are down: %v, want that the connection is refused", err)
	}
}

// A worker that was down gets requests again when it is ready, and not before.
func TestBalancerAwaitsThatAWorkerIsReady(t *testing.T) {
	addr, requests := testWorker(t, fine)
	b := newBalancer([]string{addr}, false)
	b.backends[0].down.Store(true)
	if err := post(t, b); err == nil || requests.Load() != 0 {
		t.Errorf("%v, %d requests; want that it is down", err, requests.Load())
	}
	ctx, stop := context.WithCancel(t.Context())
	asked := 0
	b.check(ctx, func(context.Context, string) error {
		if asked++; asked == 1 {
			return errors.New("not yet")
		}
		stop()
		return nil
	})
	if err := post(t, b); err != nil || asked != 2 {
		t.Errorf("%v, asked %d times; want that it is up, when asked twice", err, asked)
	}
}

// A request that a worker may have had is sent to another only where that is asked for.
func TestBalancerRepeatsWhatWasSentOnlyWhenAsked(t *testing.T) {
	for _, repeat := range []bool{false, true} {
		dying, died := testWorker(t, dies)
		up, requests := testWorker(t, fine)
		b := newBalancer([]string{up, dying}, repeat) // the first request goes to the second
		if err := post(t, b); (err == nil) != repeat {
			t.Errorf("repeat %v: %v", repeat, err)
		}
		if got := requests.Load() == 1; got != repeat || died.Load() != 1 {
			t.Errorf("repeat %v: %d requests reached the other worker, and %d the one that died", repeat, requests.Load(), died.Load())
		}
	}
}
