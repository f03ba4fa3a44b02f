package pipeline

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"arrakis/loadtest/testserver"
	"arrakis/pipeline/contract"
)

// attemptRecords returns the keys in Redis under which attempts are written down.
func (b *bundle) attemptRecords() []string {
	return slices.DeleteFunc(b.redis.Keys(), func(key string) bool { return !strings.HasPrefix(key, "arrakis:attempts:") })
}

// F10: only a handler that ran and failed uses up an attempt. A message that was given back, for whatever reason and
// however often, still has all of them.
func TestF10GivenBackIsNoAttempt(t *testing.T) {
	t.Parallel()
	b := setup(t)
	var attempts []int
	b.handlers.Command("flaky", func(_ context.Context, m *Message) (any, error) {
		attempts = append(attempts, m.Attempt)
		return nil, errors.New("transient")
	})
	b.options = func(o *Options) { o.MaxAttempts = 2 }
	b.ensure()
	outcome := b.publish("commands.interaction", command("c1", "flaky", "e1"))
	consumer, err := b.js.Consumer(t.Context(), contract.StreamCommands, contract.ConsumerCommand)
	if err != nil {
		t.Fatal(err)
	}
	for range 5 { // as a worker that drains, or that may not admit messages while Redis is away
		msg, err := consumer.Next()
		if err != nil {
			t.Fatal(err)
		}
		if err := msg.Nak(); err != nil {
			t.Fatal(err)
		}
	}
	b.start()
	if o := b.outcome(outcome); o.Status != contract.StatusError {
		t.Errorf("outcome %+v, want an error", o)
	}
	if !slices.Equal(attempts, []int{1, 2}) {
		t.Errorf("the handler ran as attempts %v, want 1 and 2", attempts)
	}
	if n := b.deadLetters(contract.ReasonAttemptsExhausted); n != 1 {
		t.Errorf("%d dead letters, want 1", n)
	}
	testserver.Eventually(t, "the record is deleted", func() bool { return len(b.attemptRecords()) == 0 })
}

// F10: a handler that a shutdown interrupts has not failed.
func TestF10InterruptionIsNoAttempt(t *testing.T) {
	t.Parallel()
	b := setup(t)
	running := make(chan int, 1)
	b.handlers.Command("long", func(ctx context.Context, m *Message) (any, error) {
		running <- m.Attempt
		<-ctx.Done()
		return nil, ctx.Err()
	})
	b.options = func(o *Options) { o.MaxAttempts = 2 }
	b.drain = 50 * time.Millisecond
	b.ensure()
	b.publish("commands.interaction", command("c1", "long", "e1"))
	for range 4 {
		_, stop := b.start()
		if attempt := <-running; attempt != 1 {
			t.Errorf("attempt %d, want 1", attempt)
		}
		stop()
	}
	if n := b.deadLetters("*"); n != 0 {
		t.Errorf("%d dead letters, want none", n)
	}
}
