package pipeline

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"arrakis/limiter"
	"arrakis/loadtest/testserver"
	"arrakis/pipeline/contract"
	"arrakis/pipeline/retry"
	"arrakis/tenant"
)

// pauseRetry keeps what is in RETRY from workers until resume is called.
func (b *bundle) pauseRetry() (resume func()) {
	b.t.Helper()
	s, err := b.js.Stream(b.t.Context(), contract.StreamRetry)
	if err != nil {
		b.t.Fatal(err)
	}
	if _, err := s.PauseConsumer(b.t.Context(), contract.ConsumerRetry, time.Now().Add(time.Hour)); err != nil {
		b.t.Fatal(err)
	}
	return func() {
		b.t.Helper()
		if _, err := s.ResumeConsumer(b.t.Context(), contract.ConsumerRetry); err != nil {
			b.t.Fatal(err)
		}
	}
}

// retryStore is the state of RETRY. With a filter, it counts only messages of these subjects.
func (b *bundle) retryStore(filter string) (messages uint64) {
	b.t.Helper()
	s, err := b.js.Stream(b.t.Context(), contract.StreamRetry)
	if err != nil {
		b.t.Fatal(err)
	}
	info, err := s.Info(b.t.Context(), jetstream.WithSubjectFilter(filter))
	if err != nil {
		b.t.Fatal(err)
	}
	for _, n := range info.State.Subjects {
		messages += n
	}
	return messages
}

// storeRetry stores a message in RETRY, as another process would.
func (b *bundle) storeRetry(m retry.Message) {
	b.t.Helper()
	w := retry.New(b.js, discard)
	stored := make(chan error, 1)
	m.Done = func(err error) { stored <- err }
	w.Put(m)
	w.Close()
	w.Run(b.t.Context())
	if err := <-stored; err != nil {
		b.t.Fatal(err)
	}
}

// hopeless is how many messages fail in every attempt.
var hopeless = 2_000

// F7: messages that wait for their next attempt take no place among the unacknowledged ones, however many there are.
// They keep what is known of them: they are charged once, and have their attempts and no more.
func TestF7RetriesHoldNothing(t *testing.T) {
	t.Parallel()
	const attempts = 3
	messages := hopeless
	b := setup(t)
	var runs atomic.Int64
	b.handlers.Command("broken", func(context.Context, *Message) (any, error) { runs.Add(1); return nil, errors.New("never") })
	b.handlers.Command("ping", func(context.Context, *Message) (any, error) { return "pong", nil })
	b.options = func(o *Options) {
		o.MaxAttempts, o.Streams.MaxAckPending = attempts, 200
		o.RetryBackoff = []time.Duration{2 * time.Second, 3 * time.Second}
	}
	if _, _, err := b.store.UpgradeTier(t.Context(), "hog", tenant.Enterprise); err != nil {
		t.Fatal(err)
	}
	b.start()
	for i := range messages {
		if _, err := b.js.PublishAsync("commands.interaction", command("hog", "broken", fmt.Sprint("e", i)), patient); err != nil {
			t.Fatal(err)
		}
	}
	testserver.Eventually(t, "each has had its first attempt", func() bool { return runs.Load() >= int64(messages) })
	testserver.Eventually(t, "COMMANDS is empty", func() bool { return b.left(contract.StreamCommands, contract.ConsumerCommand) == 0 })
	if n := b.retryStore(">"); n == 0 {
		t.Error("RETRY is empty though the messages have more attempts")
	}
	if o := b.outcome(b.publish("commands.interaction", command("quiet", "ping", "q"))); o.Status != contract.StatusOK {
		t.Errorf("a quiet community: %+v", o)
	}
	testserver.Eventually(t, "all are dead letters", func() bool { return b.deadLetters(contract.ReasonAttemptsExhausted) == uint64(messages) })
	if n := runs.Load(); n != int64(messages*attempts) {
		t.Errorf("%d handler runs, want %d", n, messages*attempts)
	}
	testserver.Eventually(t, "nothing is left", func() bool { return b.retryStore(">") == 0 && len(b.attemptRecords()) == 0 })
}

// Where RETRY cannot take messages, because it is full, has no schedules or is gone, they are tried again all the same,
// and none is lost.
func TestRetriesWithoutRetry(t *testing.T) {
	t.Parallel()
	for name, spoil := range map[string]func(b *bundle){
		"nine tenths full": func(b *bundle) {
			b.bound(contract.StreamRetry, 4_000)
			b.send("retry.full", make([]byte, 3_700))
		},
		"no schedules": func(b *bundle) {
			b.replace(contract.StreamRetry, jetstream.StreamConfig{Name: contract.StreamRetry, Subjects: []string{"retry.>", "again.>"}})
		},
		"cannot be made": func(b *bundle) {
			b.replace(contract.StreamRetry, jetstream.StreamConfig{Name: "OTHER", Subjects: []string{"again.>"}})
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			const messages = 30
			b := setup(t)
			var runs, handled atomic.Int64
			b.handlers.Command("flaky", func(_ context.Context, m *Message) (any, error) {
				if runs.Add(1); m.Attempt < 3 {
					return nil, errors.New("not yet")
				}
				handled.Add(1)
				return nil, nil
			})
			b.options = func(o *Options) { o.RetryBackoff = seconds }
			b.ensure()
			spoil(b)
			b.start()
			for i := range messages {
				b.send("commands.interaction", command(fmt.Sprint("c", i), "flaky", fmt.Sprint("e", i)))
			}
			testserver.Eventually(t, "all are handled", func() bool { return handled.Load() == messages })
			testserver.Eventually(t, "nothing is left", func() bool { return b.left(contract.StreamCommands, contract.ConsumerCommand) == 0 })
			if n := runs.Load(); n != 3*messages {
				t.Errorf("%d handler runs, want %d", n, 3*messages)
			}
			if n := b.counted("arrakis_retries_total", "way", "nak"); n != 2*messages {
				t.Errorf("%v delayed naks, want %d", n, 2*messages)
			}
		})
	}
}

// A worker that dies after it has stored a retry, and before it acknowledges the message, leaves both. When the message
// is delivered again and ends, the retry is deleted.
func TestDeathBetweenRetryAndAck(t *testing.T) {
	t.Parallel()
	b := setup(t)
	var runs atomic.Int64
	b.handlers.Command("ping", func(context.Context, *Message) (any, error) { runs.Add(1); return "pong", nil })
	b.ensure()
	outcome := b.publish("commands.interaction", command("c1", "ping", "e1"))
	msg := b.next(contract.StreamCommands, contract.ConsumerCommand)
	meta, err := msg.Metadata()
	if err != nil {
		t.Fatal(err)
	}
	dead := &delivery{source: &source{}, position: position{sequence: meta.Sequence.Stream, delivered: 1}}
	dead.origin = origin{stream: contract.StreamCommands, sequence: meta.Sequence.Stream, nanos: meta.Timestamp.UnixNano()}
	dead.Subject, dead.Body, dead.EventID = msg.Subject(), msg.Data(), "e1"
	b.storeRetry(dead.retry(time.Now().Add(time.Hour), 1))
	if err := msg.Nak(); err != nil {
		t.Fatal(err)
	}

	b.start()
	if o := b.outcome(outcome); o.Status != contract.StatusOK {
		t.Errorf("outcome %+v", o)
	}
	testserver.Eventually(t, "the retry is deleted", func() bool { return b.retryStore(">") == 0 })
	if n := runs.Load(); n != 1 {
		t.Errorf("the handler ran %d times, want once", n)
	}
}

// F10: a message that may not be admitted while Redis is away, and that nobody waits for, waits in RETRY. When Redis is
// back it is admitted and charged, and has all its attempts.
func TestF10UncheckedMessagesWaitInRetry(t *testing.T) {
	t.Parallel()
	const messages = 20
	b := setup(t)
	limits, err := limiter.New(b.rdb, limiter.Options{OnRedisDown: limiter.Closed})
	if err != nil {
		t.Fatal(err)
	}
	b.limits = limits
	var attempts []int
	b.handlers.Command("ping", func(_ context.Context, m *Message) (any, error) {
		attempts = append(attempts, m.Attempt)
		return nil, nil
	})
	b.options = func(o *Options) { o.HandlerConcurrency = 1 }
	ctx, stop := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { _ = limits.Run(ctx) }) // returns ctx's error
	t.Cleanup(func() { stop(); running.Wait() })
	b.start()
	b.redis.SetError("LOADING Redis is loading the dataset in memory")
	for i := range messages {
		b.send("commands.interaction", command(fmt.Sprint("c", i), "ping", fmt.Sprint("e", i)))
	}
	testserver.Eventually(t, "all wait in RETRY", func() bool {
		return b.retryStore(">") == messages && b.left(contract.StreamCommands, contract.ConsumerCommand) == 0
	})
	b.redis.SetError("")
	testserver.Eventually(t, "all are handled", func() bool { return b.commands("success") == messages })
	for i, attempt := range attempts {
		if n := b.charged(fmt.Sprintf("c%d:command", i)); attempt != 1 || n != 1 {
			t.Errorf("c%d: attempt %d, %d permits", i, attempt, n)
		}
	}
}

// A message whose handler has failed counts as running until RETRY has it. So a community of which many messages fail
// faster than they can be stored waits in its turns, and does not fill the pool of unacknowledged messages with what is
// not stored yet.
func TestFailedMessagesRunUntilTheyAreStored(t *testing.T) {
	t.Parallel()
	const messages, workers, most = 20, 8, 7 // of an enterprise community at once
	b := setup(t)
	b.options = func(o *Options) { o.HandlerConcurrency, o.RetryBackoff = workers, []time.Duration{time.Hour} }
	b.unlimited("flood")
	var failed atomic.Int64
	b.handlers.Command("flaky", func(context.Context, *Message) (any, error) {
		failed.Add(1)
		return nil, errors.New("transient")
	})
	b.handlers.Command("fine", func(context.Context, *Message) (any, error) { return nil, nil })
	p, _ := b.start()
	slow := make(chan struct{})
	store := sync.OnceFunc(func() { close(slow) })
	t.Cleanup(store)
	if !p.metrics.retries.Put(retry.Message{
		ID: retry.ID{Stream: "COMMANDS", Sequence: 1_000_000}, Subject: "commands.x", At: time.Now().Add(time.Hour),
		Done: func(error) { <-slow }, // all answers wait for it
	}) {
		t.Fatal("no room")
	}
	for i := range messages {
		b.send("commands.interaction", command("flood", "flaky", fmt.Sprint("e", i)))
	}
	testserver.Eventually(t, "some run and the others wait", func() bool {
		waiting, running := p.admitted.depth()
		return waiting == messages-most && running == most
	})
	if o := b.outcome(b.publish("commands.interaction", command("quiet", "fine", "quiet"))); o.Status != contract.StatusOK {
		t.Errorf("the quiet community: %+v", o)
	}
	testserver.Eventually(t, "those that run have failed, and a shutdown gives none of them back", func() bool {
		return failed.Load() == most && len(p.admitted.stillRunning()) == 0
	})
	store()
	testserver.Eventually(t, "all are stored, and none runs", func() bool {
		waiting, running := p.admitted.depth()
		return b.counted("arrakis_retries_total", "way", "stored") == messages && waiting+running == 0
	})
}
