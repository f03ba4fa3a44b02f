package main

import (
	"fmt"
	"log/slog"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"arrakis/loadtest/testserver"
	"arrakis/pipeline/contract"
	"arrakis/pipeline/streams"
)

// hangingBed is a worker process that runs a command whose handler, a NATS service, does not answer the first request.
type hangingBed struct {
	worker   *background
	env      environment
	first    *nats.Msg      // the first request to the handler
	requests chan *nats.Msg // the others
}

func newHangingBed(t *testing.T, shutdownTimeout time.Duration) *hangingBed {
	t.Helper()
	natsServer := testserver.NATS(t)
	b := &hangingBed{env: serveEnv(natsServer.URL(), testserver.Miniredis(t).Addr()), requests: make(chan *nats.Msg, 1)}
	b.env["SHUTDOWN_TIMEOUT"], b.env["HANDLER_TIMEOUT"] = shutdownTimeout.String(), "1h"
	nc := natsServer.Connect(t)
	if _, err := nc.Subscribe("handlers.command.hang", func(m *nats.Msg) { b.requests <- m }); err != nil {
		t.Fatal(err)
	}
	js := testserver.JetStream(t, nc)
	if err := streams.Ensure(t.Context(), js, nil, streams.Options{}, slog.New(slog.DiscardHandler)); err != nil {
		t.Fatal(err)
	}
	// With such an ack wait, a message comes again within the test only if it is given back.
	consumer, err := js.Consumer(t.Context(), contract.StreamCommands, contract.ConsumerCommand)
	if err != nil {
		t.Fatal(err)
	}
	config := consumer.CachedInfo().Config
	config.AckWait = time.Hour
	if _, err := js.UpdateConsumer(t.Context(), contract.StreamCommands, config); err != nil {
		t.Fatal(err)
	}
	b.worker = startProcess(t, b.env)
	body := `{"event_id":"e1","event_type":"interaction.create","guild_id":"c1","data":{"command_name":"hang"}}`
	if _, err := js.Publish(t.Context(), "commands.interaction", []byte(body)); err != nil {
		t.Fatal(err)
	}
	b.first = b.request(t)
	return b
}

// request waits for a request to the handler.
func (b *hangingBed) request(t *testing.T) *nats.Msg {
	t.Helper()
	select {
	case m := <-b.requests:
		return m
	case <-time.After(testserver.Patience):
		t.Fatalf("no request to the handler within %v", testserver.Patience)
		return nil
	}
}

func (b *background) signal(t *testing.T, s os.Signal) {
	t.Helper()
	if err := b.process.Signal(s); err != nil {
		t.Fatal(err)
	}
}

// F15: a worker whose handler hangs ends by itself after SIGTERM, and another worker gets the message at once.
func TestF15ShutdownGivesBackToAnotherProcess(t *testing.T) {
	t.Parallel()
	b := newHangingBed(t, 3*time.Second)
	startProcess(t, b.env)
	b.worker.signal(t, syscall.SIGTERM)
	began := time.Now()
	if err := b.request(t).Respond([]byte(`{}`)); err != nil {
		t.Error(err)
	}
	if code := b.worker.exit(t); code != exitDone {
		t.Errorf("exit code %d", code)
	}
	t.Logf("ended %v after SIGTERM", time.Since(began))
}

// timeout(1) sends SIGTERM to the process and to its group: that is one signal, and the process drains.
func TestSignalSentTwiceDrains(t *testing.T) {
	t.Parallel()
	b := newHangingBed(t, time.Hour)
	b.worker.signal(t, syscall.SIGTERM)
	b.worker.signal(t, syscall.SIGTERM) // for the system it may be the same; TestSignals has the limits
	testserver.Eventually(t, "it drains", func() bool { return strings.Contains(b.worker.stderr.String(), `"msg":"shutting down"`) })
	if err := b.first.Respond([]byte(`{}`)); err != nil {
		t.Error(err)
	}
	if code := b.worker.exit(t); code != exitDone {
		t.Errorf("exit code %d", code)
	}
}

// F15: a later second signal, or one of another kind, ends the process at once, and it says so.
func TestF15SecondSignal(t *testing.T) {
	t.Parallel()
	for _, second := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT} {
		t.Run(second.String(), func(t *testing.T) {
			t.Parallel()
			b := newHangingBed(t, time.Hour)
			b.worker.signal(t, syscall.SIGTERM)
			testserver.Eventually(t, "it drains", func() bool { return strings.Contains(b.worker.stderr.String(), "draining: not pulling any more") })
			code := -1
			testserver.Eventually(t, "it ends", func() bool { // those that are as fast as one sent twice do not count
				_ = b.worker.process.Signal(second) // it may have ended
				select {
				case code = <-b.worker.code:
					return true
				default:
					return false
				}
			})
			if code != exitFailed {
				t.Errorf("exit code %d", code)
			}
			want := fmt.Sprintf("arrakis: second signal (%s): ending without waiting for messages in flight\n", second)
			if !strings.HasSuffix(b.worker.stderr.String(), want) {
				t.Errorf("it does not say %q", want)
			}
		})
	}
}
