package pipeline

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go/micro"

	"arrakis/loadtest/testserver"
	"arrakis/pipeline/contract"
)

// send stores messages for whose outcome nobody waits.
func (b *bundle) send(subject string, bodies ...[]byte) {
	b.t.Helper()
	for _, body := range bodies {
		if _, err := b.js.Publish(b.t.Context(), subject, body); err != nil {
			b.t.Fatal(err)
		}
	}
}

// service starts a micro service for a command.
func (b *bundle) service(command string, f func(micro.Request)) micro.Service {
	b.t.Helper()
	s, err := micro.AddService(b.nc, micro.Config{Name: command, Version: "1.0.0"})
	if err == nil {
		err = s.AddEndpoint(command, micro.HandlerFunc(f), micro.WithEndpointSubject("handlers.command."+command))
	}
	if err == nil {
		err = b.nc.Flush()
	}
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { _ = s.Stop() })
	return s
}

// W2: a handler service that is away for a while loses nothing, and no message for which nobody waits becomes a dead
// letter, although the time would be enough for more attempts than a message has.
func TestW2ServiceIsAway(t *testing.T) {
	t.Parallel()
	const messages = 50
	b := setup(t)
	b.options = func(o *Options) { o.MaxAttempts = 2 }
	b.start()
	for i := range messages {
		b.send("commands.interaction", command(fmt.Sprint("c", i), "greet", fmt.Sprint("e", i)))
	}
	testserver.Eventually(t, "every message was tried more often than it has attempts", func() bool {
		return b.counted("arrakis_tenant_errors_total", "error_type", "no_handler") > 4*messages
	})
	var handled atomic.Int64
	b.service("greet", func(r micro.Request) {
		if attempt := r.Headers().Get(contract.HeaderAttempt); attempt != "1" {
			t.Errorf("attempt %s, want 1: nobody was there before", attempt)
		}
		handled.Add(1)
		_ = r.Respond(nil)
	})
	testserver.Eventually(t, "all are handled", func() bool { return handled.Load() == messages })
	testserver.Eventually(t, "nothing is left", func() bool { return b.left(contract.StreamCommands, contract.ConsumerCommand) == 0 })
	if n := b.deadLetters("*"); n != 0 {
		t.Errorf("%d dead letters, want none", n)
	}
}

// A message that nobody handles at all ends: after RETRY_UNTIL as a dead letter, or when the command expires.
func TestNobodyEverHandles(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.options = func(o *Options) { o.RetryUntil, o.CommandTTL = 200*time.Millisecond, 400*time.Millisecond }
	b.start()
	b.send("events.guild.join", testserver.Fixtures(t, "good")["guild-join.json"])
	b.send("commands.interaction", command("c1", "nobody", "e1"))
	testserver.Eventually(t, "the event is a dead letter", func() bool { return b.deadLetters(contract.ReasonNoHandler) == 1 })
	testserver.Eventually(t, "the command is expired", func() bool { return b.commands("expired") == 1 })
	if n := b.deadLetters("*"); n != 1 {
		t.Errorf("%d dead letters, want that of the event", n)
	}
}

// A sender that waits is told the last failure while it waits, and then its message is not tried again.
func TestSenderIsToldInTime(t *testing.T) {
	t.Parallel()
	b := setup(t)
	var runs atomic.Int64
	b.handlers.Command("broken", func(context.Context, *Message) (any, error) { runs.Add(1); return nil, errors.New("never") })
	b.options = func(o *Options) { o.RetryBackoff = []time.Duration{100 * time.Millisecond, time.Minute} }
	b.start()
	for i, tt := range []struct {
		command string
		code    int
	}{{"broken", http.StatusInternalServerError}, {"nobody", http.StatusBadGateway}} {
		began := time.Now()
		const wait = 20 * time.Second
		o := b.outcome(b.publish("commands.interaction", command("c1", tt.command, fmt.Sprint("e", i)), contract.HeaderWait, "20000"))
		if o.Status != contract.StatusError || o.Error.Code != tt.code || time.Since(began) > wait {
			t.Errorf("%s: told after %v: %+v %+v", tt.command, time.Since(began), o, o.Error)
		}
	}
	testserver.Eventually(t, "the messages are done", func() bool { return b.left(contract.StreamCommands, contract.ConsumerCommand) == 0 })
	if n := runs.Load(); n != 2 {
		t.Errorf("the handler ran %d times, want twice: the next attempt would have begun after the wait", n)
	}
	if n := b.deadLetters("*"); n != 0 {
		t.Errorf("%d dead letters, want none: the attempts are not used up", n)
	}
	if n := b.commands("error"); n != 2 {
		t.Errorf("%v commands are counted as errors, want 2", n)
	}
}

// A message that is too large for a request to a handler is a dead letter at once, and its sender is told.
func TestTooLargeForAHandler(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.start()
	body := command("c1", "large", "e1")
	padding := bytes.Repeat([]byte(" "), int(b.nc.MaxPayload())-len(body)-120) // JSON may end with spaces
	o := b.outcome(b.publish("commands.interaction", append(body, padding...)))
	if o.Error == nil || o.Error.Code != http.StatusRequestEntityTooLarge {
		t.Errorf("outcome %+v, error %+v", o, o.Error)
	}
	if n := b.deadLetters(contract.ReasonNoHandler); n != 1 {
		t.Errorf("%d dead letters, want 1", n)
	}
}
