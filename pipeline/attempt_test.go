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

// fails registers a handler that always fails, and returns the attempts that it had. They can be read when it runs no
// more. It must not run twice at once.
func (b *bundle) fails(command string) (attempts *[]int) {
	attempts = new([]int)
	b.handlers.Command(command, func(_ context.Context, m *Message) (any, error) {
		*attempts = append(*attempts, m.Attempt)
		return nil, errors.New("transient")
	})
	return attempts
}

// F10: only a handler that ran and failed uses up an attempt. A message that was given back, for whatever reason and
// however often, still has all of them.
func TestF10GivenBackIsNoAttempt(t *testing.T) {
	t.Parallel()
	b := setup(t)
	attempts := b.fails("flaky")
	b.options = func(o *Options) { o.MaxAttempts = 2 }
	b.ensure()
	outcome := b.publish("commands.interaction", command("c1", "flaky", "e1"))
	for range 5 { // as a worker that drains, or that may not admit messages while Redis is away
		if err := b.next(contract.StreamCommands, contract.ConsumerCommand).Nak(); err != nil {
			t.Fatal(err)
		}
	}
	b.start()
	if o := b.outcome(outcome); o.Status != contract.StatusError {
		t.Errorf("outcome %+v, want an error", o)
	}
	if !slices.Equal(*attempts, []int{1, 2}) {
		t.Errorf("the handler ran as attempts %v, want 1 and 2", *attempts)
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

// Attempts count over schedules, redeliveries and the deaths of workers, in whatever order they come: no handler runs
// more often than MAX_ATTEMPTS.
func TestAttemptsCountOverSchedules(t *testing.T) {
	t.Parallel()
	b := setup(t)
	attempts := b.fails("broken")
	b.options = func(o *Options) {
		o.MaxAttempts, o.HandlerConcurrency = 5, 1
		o.RetryBackoff = []time.Duration{time.Second, 10 * time.Millisecond, time.Second} // schedule, nak, schedule
	}
	_, stop := b.start()
	resume := b.pauseRetry() // or the worker takes it, if it does not stop in time
	b.send("commands.interaction", command("c1", "broken", "e1"))
	testserver.Eventually(t, "it waits in RETRY", func() bool { return b.retryStore(">") == 1 })
	stop()
	resume()
	// A worker takes the retry, begins, and dies.
	testserver.Eventually(t, "its time has come", func() bool { return b.retryStore("again.>") == 1 })
	msg := b.next(contract.StreamRetry, contract.ConsumerRetry)
	d := &delivery{source: newSource(b.js, contract.StreamRetry, contract.ConsumerRetry, discard), Message: Message{headers: msg.Headers()}}
	meta, err := metadataOf(msg)
	if err != nil {
		t.Fatal(err)
	}
	d.position = meta.position
	if err := d.carried(msg.Subject(), time.Now()); err != nil {
		t.Fatal(err)
	}
	if d.failed != 1 {
		t.Errorf("the retry carries %d failed attempts, want 1", d.failed)
	}
	dying := newAttemptCounter(b.attemptStore(), 5, time.Minute, discard)
	if !dying.begin(t.Context(), d) || d.Attempt != 2 {
		t.Errorf("it begins as attempt %d, want 2", d.Attempt)
	}
	if err := msg.Nak(); err != nil { // as after its ack wait
		t.Fatal(err)
	}

	b.start()
	testserver.Eventually(t, "it is a dead letter", func() bool { return b.deadLetters(contract.ReasonAttemptsExhausted) == 1 })
	if want := []int{1, 3, 4, 5}; !slices.Equal(*attempts, want) {
		t.Errorf("attempts %v, want %v: the second one died", *attempts, want)
	}
	testserver.Eventually(t, "nothing is left", func() bool { return b.retryStore(">") == 0 && len(b.attemptRecords()) == 0 })
}
