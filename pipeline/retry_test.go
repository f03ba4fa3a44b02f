package pipeline

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nats.go/micro"

	"arrakis/limiter"
	"arrakis/loadtest/testserver"
	"arrakis/pipeline/contract"
	"arrakis/pipeline/deadletter"
	"arrakis/pipeline/retry"
	"arrakis/tenant"
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

// unacked is how many messages of a consumer are unacknowledged.
func (b *bundle) unacked(stream, consumer string) int {
	b.t.Helper()
	c, err := b.js.Consumer(b.t.Context(), stream, consumer)
	if err != nil {
		b.t.Fatal(err)
	}
	return c.CachedInfo().NumAckPending
}

// seconds are delays that schedules can have.
var seconds = []time.Duration{time.Second}

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
	b.options = func(o *Options) { o.RetryBackoff = []time.Duration{2 * time.Second} }
	b.start()
	o := b.publish("commands.interaction", command("c1", "flaky", "e1"))
	testserver.Eventually(t, "it waits in RETRY", func() bool { return b.retryStore("retry.>") == 1 })
	// As if the window had passed and others had used up the new one.
	b.redis.Del("ratelimit:c1:command")
	for i := range 10 {
		if _, err := b.redis.ZAdd("ratelimit:c1:command", float64(time.Now().UnixMilli()), fmt.Sprint("other", i)); err != nil {
			t.Fatal(err)
		}
	}
	if o := b.outcome(o); o.Status != contract.StatusOK || string(o.Result) != "2" || o.RateLimit.Limit != 10 {
		t.Errorf("outcome %+v %+v, result %s", o, o.RateLimit, o.Result)
	}
	if n := b.charged("c1:command"); n != 10 {
		t.Errorf("%d permits are taken, want those of the others", n)
	}
}

// Headers of a carried message have no effect on messages that somebody publishes.
func TestHostileHeadersOfACarriedMessage(t *testing.T) {
	t.Parallel()
	b := setup(t)
	var attempts []int
	b.handlers.Command("broken", func(_ context.Context, m *Message) (any, error) {
		attempts = append(attempts, m.Attempt)
		return nil, errors.New("never")
	})
	b.options = func(o *Options) { o.MaxAttempts, o.RetryBackoff, o.HandlerConcurrency = 2, seconds, 1 }
	b.start()
	hostile := []string{
		contract.HeaderAttempt, "100", contract.HeaderAdmitted, "1000 1000 0", contract.HeaderFirstStored, "1", contract.HeaderDelivered, "100",
		contract.HeaderStream, contract.StreamEvents, contract.HeaderSequence, "1", contract.HeaderSubject, "events.x",
		contract.HeaderReason, string(contract.ReasonPanic), contract.HeaderError, "made up",
	}
	sub := b.publish("commands.interaction", command("c1", "broken", "e1"), hostile...)
	if o := b.outcome(sub); o.Status != contract.StatusError || o.Error.Code != http.StatusInternalServerError {
		t.Errorf("outcome %+v %+v", o, o.Error)
	}
	if !slices.Equal(attempts, []int{1, 2}) {
		t.Errorf("attempts %v, want 1 and 2", attempts)
	}
	if n := b.charged("c1:command"); n != 1 {
		t.Errorf("%d permits are taken, want 1", n)
	}
	entries, err := deadletter.New(b.js).List(t.Context(), deadletter.Query{})
	if err != nil || len(entries.Entries) != 1 {
		t.Fatalf("dead letters %+v, %v", entries, err)
	}
	if e := entries.Entries[0]; e.Stream != contract.StreamCommands || e.Reason != contract.ReasonAttemptsExhausted || e.Attempts != 2 ||
		e.Subject != "commands.interaction" {
		t.Errorf("dead letter %+v", e)
	}
}

// Where RETRY cannot take messages, because it is full, has no schedules or is gone, they are tried again all the same,
// and none is lost.
func TestRetriesWithoutRetry(t *testing.T) {
	t.Parallel()
	for name, spoil := range map[string]func(b *bundle){
		"nine tenths full": func(b *bundle) {
			s, err := b.js.Stream(b.t.Context(), contract.StreamRetry)
			if err != nil {
				b.t.Fatal(err)
			}
			c := s.CachedInfo().Config
			c.MaxBytes = 4_000
			if _, err := b.js.UpdateStream(b.t.Context(), c); err != nil {
				b.t.Fatal(err)
			}
			if _, err := b.js.Publish(b.t.Context(), "retry.full", make([]byte, 3_700)); err != nil {
				b.t.Fatal(err)
			}
		},
		"no schedules": func(b *bundle) {
			b.dropRetry()
			if _, err := b.js.CreateStream(b.t.Context(), jetstream.StreamConfig{Name: contract.StreamRetry, Subjects: []string{"retry.>", "again.>"}, Storage: jetstream.MemoryStorage}); err != nil {
				b.t.Fatal(err)
			}
		},
		"cannot be made": func(b *bundle) {
			b.dropRetry()
			if _, err := b.js.CreateStream(b.t.Context(), jetstream.StreamConfig{Name: "OTHER", Subjects: []string{"again.>"}, Storage: jetstream.MemoryStorage}); err != nil {
				b.t.Fatal(err)
			}
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

func (b *bundle) dropRetry() {
	b.t.Helper()
	if err := b.js.DeleteStream(b.t.Context(), contract.StreamRetry); err != nil {
		b.t.Fatal(err)
	}
}

// next takes the next message of a consumer of a route, as a worker that then dies.
func (b *bundle) next(kind contract.Kind) jetstream.Msg {
	b.t.Helper()
	c, err := b.js.Consumer(b.t.Context(), kind.Route().Stream, kind.Route().Consumer)
	if err != nil {
		b.t.Fatal(err)
	}
	msg, err := c.Next()
	if err != nil {
		b.t.Fatal(err)
	}
	return msg
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
	msg := b.next(contract.KindCommand)
	meta, err := msg.Metadata()
	if err != nil {
		t.Fatal(err)
	}
	dead := &delivery{source: &source{}, position: position{sequence: meta.Sequence.Stream, delivered: 1}}
	dead.origin = origin{stream: contract.StreamCommands, sequence: meta.Sequence.Stream, stored: meta.Timestamp}
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

// Attempts count over schedules, redeliveries and the deaths of workers, in whatever order they come: no handler runs
// more often than MAX_ATTEMPTS.
func TestAttemptsCountOverSchedules(t *testing.T) {
	t.Parallel()
	b := setup(t)
	var attempts []int
	b.handlers.Command("broken", func(_ context.Context, m *Message) (any, error) {
		attempts = append(attempts, m.Attempt)
		return nil, errors.New("never")
	})
	b.options = func(o *Options) {
		o.MaxAttempts, o.HandlerConcurrency = 5, 1
		o.RetryBackoff = []time.Duration{time.Second, 10 * time.Millisecond, time.Second} // schedule, nak, schedule
	}
	_, stop := b.start()
	b.send("commands.interaction", command("c1", "broken", "e1"))
	testserver.Eventually(t, "it waits in RETRY", func() bool { return b.retryStore("retry.>") == 1 })
	stop()
	// A worker takes the retry, begins, and dies.
	testserver.Eventually(t, "its time has come", func() bool { return b.retryStore("again.>") == 1 })
	c, err := b.js.Consumer(t.Context(), contract.StreamRetry, contract.ConsumerRetry)
	if err != nil {
		t.Fatal(err)
	}
	msg, err := c.Next()
	if err != nil {
		t.Fatal(err)
	}
	d := &delivery{source: newSource(b.js, contract.StreamRetry, contract.ConsumerRetry, discard), headers: msg.Headers()}
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
	if want := []int{1, 3, 4, 5}; !slices.Equal(attempts, want) {
		t.Errorf("attempts %v, want %v: the second one died", attempts, want)
	}
	testserver.Eventually(t, "nothing is left", func() bool { return b.retryStore(">") == 0 && len(b.attemptRecords()) == 0 })
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
