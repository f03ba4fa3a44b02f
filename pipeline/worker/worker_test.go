package worker

import (
	"context"
	"fmt"
	"net"
	"os"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"arrakis/loadtest/testserver"
)

func TestMain(m *testing.M) {
	if os.Getenv(asWorkerNATS) != "" {
		fmt.Fprintln(os.Stderr, runAsWorker()) // this test binary is a worker that a test has started as a process
		os.Exit(2)
	}
	goleak.VerifyTestMain(m)
}

func TestNewNamesEveryFault(t *testing.T) {
	_, err := New(Options{Shards: 5000, HandlerConcurrency: -1, TenantCacheSize: -1, CommandTTL: -2})
	if err == nil {
		t.Fatal("no error")
	}
	for _, field := range []string{"NATS", "Redis", "Shards", "HandlerConcurrency", "TenantCacheSize", "CommandTTL"} {
		if !strings.Contains(err.Error(), field+" is") {
			t.Errorf("%v: does not name %s", err, field)
		}
	}
}

// Whoever waits for a worker that has ended is told, also without a deadline.
func TestAwaitReadyEndsWithRun(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w, err := New(Options{
		NATS: testserver.ConnectNATS(t, testserver.NATS(t).URL()), Redis: testserver.ConnectRedis(t, testserver.Miniredis(t).Addr()), HTTP: l,
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if err := w.Run(t.Context()); err == nil {
		t.Error("Run on a closed listener: no error")
	}
	if err := w.AwaitReady(t.Context()); err == nil || !strings.Contains(err.Error(), "has ended") {
		t.Errorf("AwaitReady: %v", err)
	}
}

// newWorker makes a worker on servers of the test's own.
func newWorker(t *testing.T, o Options) *Worker {
	t.Helper()
	o.NATS, o.Redis = testserver.ConnectNATS(t, testserver.NATS(t).URL()), testserver.ConnectRedis(t, testserver.Miniredis(t).Addr())
	w, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func TestRunTwice(t *testing.T) {
	w := newWorker(t, Options{})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx) }()
	if err := w.AwaitReady(ctx); err != nil {
		t.Fatal(err)
	}
	if err := w.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "called before") {
		t.Errorf("the second Run: %v", err)
	}
	if err := w.Ready(); err != nil {
		t.Errorf("the first Run is disturbed: %v", err)
	}
	cancel()
	if err := <-done; err != nil {
		t.Errorf("the first Run: %v", err)
	}
}

// A closed connection never comes back: the process cannot go on.
func TestRunEndsWithItsConnection(t *testing.T) {
	w := newWorker(t, Options{})
	done := make(chan error, 1)
	go func() { done <- w.Run(t.Context()) }()
	if err := w.AwaitReady(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.o.NATS.Close()
	if err := <-done; err == nil || !strings.Contains(err.Error(), "connection is closed") {
		t.Errorf("Run: %v", err)
	}
}
