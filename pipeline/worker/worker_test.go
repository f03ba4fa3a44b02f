package worker

import (
	"net"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"arrakis/loadtest/testserver"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

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
