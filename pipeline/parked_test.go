package pipeline

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"arrakis/loadtest/testserver"
	"arrakis/pipeline/contract"
	"arrakis/pipeline/deadletter"
	"arrakis/tenant"
)

// F7: dead letters that cannot be stored wait in RETRY. They take no place among the unacknowledged messages, no handler
// runs for them again, senders that wait are told, and each is stored once DEADLETTER is back.
func TestF7DeadLettersThatCannotBeStored(t *testing.T) {
	t.Parallel()
	const messages, pool = 500, 100
	b := setup(t)
	var runs atomic.Int64
	fail := func(err error) Handler {
		return func(context.Context, *Message) (any, error) {
			if runs.Add(1); err == nil {
				panic("at the disco")
			}
			return nil, err
		}
	}
	b.handlers.Command("broken", fail(errors.New("never")))
	b.handlers.Command("panics", fail(nil))
	b.options = func(o *Options) {
		o.MaxAttempts, o.Streams.MaxAckPending = 1, pool
		o.Logger = discard
	}
	b.adjust = func(p *Pipeline) { p.metrics.parkTime = 2 * time.Second }
	if _, _, err := b.store.UpgradeTier(t.Context(), "c", tenant.Enterprise); err != nil {
		t.Fatal(err)
	}
	b.start()
	b.takeDeadLetter()
	told := b.publish("commands.interaction", command("c", "broken", "told"))
	if o := b.outcome(told); o.Status != contract.StatusError || o.Error.Code != http.StatusInternalServerError {
		t.Errorf("outcome %+v %+v", o, o.Error)
	}
	for i := range messages - 1 {
		name := []string{"broken", "panics"}[i%2]
		if _, err := b.js.PublishAsync("commands.interaction", command("c", name, fmt.Sprint("e", i)), patient); err != nil {
			t.Fatal(err)
		}
	}
	testserver.Eventually(t, "each has been handled", func() bool { return runs.Load() == messages })
	testserver.Eventually(t, "the pool is empty", func() bool { return b.unacked(contract.StreamCommands, contract.ConsumerCommand) <= pool/10 })
	parked := b.value("arrakis_dead_letters_parked_total")
	testserver.Eventually(t, "each has been parked twice", func() bool { return b.value("arrakis_dead_letters_parked_total") > parked+messages })
	if n := b.unacked(contract.StreamCommands, contract.ConsumerCommand); n > pool/10 {
		t.Errorf("%d messages are unacknowledged, of a pool of %d", n, pool)
	}

	if err := b.js.DeleteStream(t.Context(), "OTHER"); err != nil {
		t.Fatal(err)
	}
	testserver.Eventually(t, "all dead letters are stored", func() bool {
		s, err := b.js.Stream(t.Context(), contract.StreamDeadLetter)
		return err == nil && s.CachedInfo().State.Msgs >= messages
	})
	testserver.Eventually(t, "nothing is left", func() bool { return b.retryStore(">") == 0 })
	if n, m := b.deadLetters(contract.ReasonAttemptsExhausted), b.deadLetters(contract.ReasonPanic); n+m != messages || m != messages/2-1 {
		t.Errorf("%d exhausted and %d panics, want %d and %d", n, m, messages/2+1, messages/2-1)
	}
	if n := runs.Load(); n != messages {
		t.Errorf("%d handler runs, want %d", n, messages)
	}
	if n := b.commands("error"); n != messages {
		t.Errorf("%v commands are counted as errors, want %d", n, messages)
	}
	e, err := deadletter.New(b.js).Get(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	if e.Stream != contract.StreamCommands || e.Subject != "commands.interaction" || e.Attempts != 1 || e.EventID == "" || e.Sequence == 0 {
		t.Errorf("dead letter %+v", e)
	}
	for name := range e.Headers {
		if slices.Contains([]string{contract.HeaderFirstStored, contract.HeaderDelivered, contract.HeaderAdmitted}, name) {
			t.Errorf("the dead letter has the header %s", name)
		}
	}
}

// takeDeadLetter replaces DEADLETTER, so that it cannot be made again.
func (b *bundle) takeDeadLetter() {
	b.t.Helper()
	b.replace(contract.StreamDeadLetter, jetstream.StreamConfig{Name: "OTHER", Subjects: []string{"deadletter.>"}})
}

// F7: without DEADLETTER and without RETRY, messages wait in OVERFLOW, and without that where they are. Their handlers do
// not run again, and their dead letters are stored when DEADLETTER is back.
func TestF7DeadLettersWithoutRetry(t *testing.T) {
	t.Parallel()
	for name, overflow := range map[string]bool{"in OVERFLOW": true, "where they are": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			const messages, pool = 300, 100
			b := setup(t)
			var runs atomic.Int64
			b.handlers.Command("panics", func(context.Context, *Message) (any, error) { runs.Add(1); panic("at the disco") })
			b.options = func(o *Options) { o.Logger, o.Streams.MaxAckPending = discard, pool }
			b.adjust = func(p *Pipeline) { p.metrics.parkTime = 100 * time.Millisecond }
			b.ensure()
			b.takeSubjects(contract.StreamRetry, "again.>")
			if !overflow {
				b.takeSubjects(contract.StreamOverflow, "overflow.>")
			}
			b.start()
			b.takeDeadLetter()
			for i := range messages {
				b.send("commands.interaction", command(fmt.Sprint("c", i), "panics", fmt.Sprint("e", i)))
			}
			testserver.Eventually(t, "they come again and again", func() bool {
				return b.counted("arrakis_retries_total", "way", "nak") > 5*pool
			})
			if overflow {
				testserver.Eventually(t, "each has been handled", func() bool { return runs.Load() == messages })
				testserver.Eventually(t, "the pool is empty", func() bool { return b.unacked(contract.StreamCommands, contract.ConsumerCommand) <= pool/10 })
			}
			if err := b.js.DeleteStream(t.Context(), "OTHER"); err != nil {
				t.Fatal(err)
			}
			testserver.Eventually(t, "all dead letters are stored", func() bool {
				s, err := b.js.Stream(t.Context(), contract.StreamDeadLetter)
				return err == nil && s.CachedInfo().State.Msgs >= messages
			})
			testserver.Eventually(t, "nothing is left", func() bool { return b.left(contract.StreamCommands, contract.ConsumerCommand) == 0 })
			if n := b.deadLetters(contract.ReasonPanic); n != messages {
				t.Errorf("%d dead letters, want %d", n, messages)
			}
			if n := runs.Load(); n != messages {
				t.Errorf("the handlers ran %d times, want %d", n, messages)
			}
		})
	}
}

// takeSubjects replaces a stream by another one that has its subjects, so that it cannot be made again.
func (b *bundle) takeSubjects(stream, subjects string) {
	b.t.Helper()
	if err := b.js.DeleteStream(b.t.Context(), stream); err != nil {
		b.t.Fatal(err)
	}
	if _, err := b.js.CreateStream(b.t.Context(), jetstream.StreamConfig{Name: "NOT-" + stream, Subjects: []string{subjects}, Storage: jetstream.MemoryStorage}); err != nil {
		b.t.Fatal(err)
	}
}
