package main

import (
	"context"
	"encoding/json"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/nats-io/nats-server/v2/server"
)

// TestBot: a command that is posted to the bot's ingress is answered by its handler.
func TestBot(t *testing.T) {
	ns, err := server.NewServer(&server.Options{
		Host: "127.0.0.1", Port: -1, NoSigs: true, JetStream: true, StoreDir: t.TempDir(), JetStreamMaxStore: 16 << 30,
	})
	if err != nil {
		t.Fatal(err)
	}
	ns.Start()
	defer func() { ns.Shutdown(); ns.WaitForShutdown() }()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- bot(ctx, ns.ClientURL(), miniredis.RunT(t).Addr(), l) }()

	var outcome struct{ Status, Result string }
	ask(t, "http://"+l.Addr().String()+"/v1/commands", `{"community_id":"comm_007","data":{"command_name":"hello"}}`, &outcome)
	if outcome.Status != "ok" || outcome.Result != "hello, comm_007" {
		t.Errorf("the outcome is %+v", outcome)
	}
	cancel()
	if err := <-done; err != nil {
		t.Errorf("the bot ended with %v", err)
	}
}

// ask posts body until the bot is ready and answers 200, and decodes the answer.
func ask(t *testing.T, url, body string, outcome any) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.After(time.Minute); ; {
		r, err := http.Post(url, "application/json", strings.NewReader(body)) //nolint:noctx // the listener is this test's
		if err != nil {
			t.Fatal(err)
		}
		status := r.StatusCode
		if status == http.StatusOK {
			err = json.NewDecoder(r.Body).Decode(outcome)
		}
		_ = r.Body.Close() // read, or not of interest
		if status == http.StatusOK {
			if err != nil {
				t.Fatal(err)
			}
			return
		}
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("the last answer is %d", status)
		}
	}
}
