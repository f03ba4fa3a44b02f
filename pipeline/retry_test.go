package pipeline

import (
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

// W2: a handler service that is away for a while loses nothing, and no message for which nobody waits becomes a dead
// letter, although the time would be enough for more attempts than a message has.
func TestW2ServiceIsAway(t *testing.T) {
	t.Parallel()
	for name, backoff := range map[string]time.Duration{"delayed naks": 20 * time.Millisecond, "RETRY": time.Second} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			const messages = 50
			b := setup(t)
			b.options = func(o *Options) { o.MaxAttempts, o.RetryBackoff = 2, []time.Duration{backoff} }
			b.start()
			for i := range messages {
				b.send("commands.interaction", command(fmt.Sprint("c", i), "greet", fmt.Sprint("e", i)))
			}
			testserver.Eventually(t, "every message was tried more often than it has attempts", func() bool {
				return b.counted("arrakis_tenant_errors_total", "error_type", "no_handler") > 3*messages
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
			testserver.Eventually(t, "nothing is left", func() bool {
				return b.left(contract.StreamCommands, contract.ConsumerCommand) == 0 && b.retryStore(">") == 0
			})
			if n := b.deadLetters("*"); n != 0 {
				t.Errorf("%d dead letters, want none", n)
			}
		})
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

// seconds are delays that schedules can have.
var seconds = []time.Duration{time.Second}

// A message whose window has passed when it is tried again is neither charged again nor rejected, although its community
// has used up the new window.
func TestRetryIsNotChargedAgain(t *testing.T) {
	t.Parallel()
	b := setup(t)
	var attempts atomic.Int64
	b.handlers.Command("flaky", func(_ context.Context, m *Message) (any, error) {
		if attempts.Add(1) == 1 {
			return nil, errors.New("not yet")
		}
		return m.Attempt, nil
	})
	b.options = func(o *Options) { o.RetryBackoff = seconds }
	b.start()
	resume := b.pauseRetry()
	o := b.publish("commands.interaction", command("c1", "flaky", "e1"))
	testserver.Eventually(t, "it waits in RETRY", func() bool { return b.retryStore(">") == 1 })
	// As if the window had passed and others had used up the new one.
	b.redis.Del("ratelimit:c1:command")
	for i := range 10 {
		if _, err := b.redis.ZAdd("ratelimit:c1:command", float64(time.Now().UnixMilli()), fmt.Sprint("other", i)); err != nil {
			t.Fatal(err)
		}
	}
	resume()
	if o := b.outcome(o); o.Status != contract.StatusOK || string(o.Result) != "2" || o.RateLimit.Limit != 10 {
		t.Errorf("outcome %+v %+v, result %s", o, o.RateLimit, o.Result)
	}
	if n := b.charged("c1:command"); n != 10 {
		t.Errorf("%d permits are taken, want those of the others", n)
	}
}
