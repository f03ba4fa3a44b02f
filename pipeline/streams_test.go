package pipeline

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"arrakis/loadtest/testserver"
	"arrakis/pipeline/contract"
)

// F4: a consumer that is lost while the worker runs goes on where it was, on streams that keep what was handled.
func TestF4LostConsumerHandlesNothingAgain(t *testing.T) {
	t.Parallel()
	b := setup(t)
	var runs atomic.Int64
	b.handlers.Event("member.join", func(context.Context, *Message) (any, error) { runs.Add(1); return "ok", nil })
	p, _ := b.start()
	event := []byte(`{"event_id":"e","event_type":"member.join","guild_id":"c1","data":{}}`)
	for range 5 {
		b.outcome(b.publish("events.member.join", event))
	}
	testserver.Eventually(t, "the floor is kept", func() bool {
		return strings.HasSuffix(b.redis.HGet("arrakis:stream:EVENTS", "floor:event-worker"), " 5")
	})
	if err := b.js.DeleteConsumer(t.Context(), contract.StreamEvents, contract.ConsumerEvent); err != nil {
		t.Fatal(err)
	}
	testserver.Eventually(t, "it is made again", func() bool {
		_, err := b.js.Consumer(t.Context(), contract.StreamEvents, contract.ConsumerEvent)
		return err == nil && p.Ready() == nil
	})
	b.outcome(b.publish("events.member.join", event)) // comes after all that would be repeated
	if n := runs.Load(); n != 6 {
		t.Errorf("the handler ran %d times for 6 events", n)
	}
}

// F15: a message that a stream takes and no consumer reads becomes a dead letter with all that it had.
func TestF15UnreadSubjectBecomesADeadLetter(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.start()
	b.publish("eligibility.other.x", []byte("a body"), "X-Mine", "1")
	b.publish("eligibility.check", []byte("a body"))
	testserver.Eventually(t, "both are dead letters", func() bool { return b.deadLetters(contract.ReasonMalformed) == 2 })
	dead, err := b.js.Stream(t.Context(), contract.StreamDeadLetter)
	if err != nil {
		t.Fatal(err)
	}
	m, err := dead.GetMsg(t.Context(), 1, jetstream.WithGetMsgSubject("deadletter.ELIGIBILITY.malformed"))
	if err != nil {
		t.Fatal(err)
	}
	h := m.Header
	if string(m.Data) != "a body" || h.Get(contract.HeaderStream) != "ELIGIBILITY" || h.Get(contract.HeaderSequence) == "" ||
		!strings.Contains(h.Get(contract.HeaderError), h.Get(contract.HeaderSubject)) {
		t.Errorf("%s %v", m.Data, h)
	}
	testserver.Eventually(t, "they have left their stream", func() bool {
		s, err := b.js.Stream(t.Context(), contract.StreamEligibility)
		return err == nil && s.CachedInfo().State.Msgs == 0
	})
}

// F5: the migration of docs/streams.md turns an ELIGIBILITY with limits, which keeps what was handled, into a
// work queue.
func TestF5MigrationOfEligibility(t *testing.T) {
	t.Parallel()
	b := setup(t)
	_, err := b.js.CreateStream(t.Context(), jetstream.StreamConfig{
		Name: contract.StreamEligibility, Subjects: []string{"eligibility.>"}, Storage: jetstream.MemoryStorage,
	})
	if err != nil {
		t.Fatal(err)
	}
	b.handlers.Eligibility("single", func(context.Context, *Message) (any, error) { return "ok", nil })
	p, _ := b.start()
	check := []byte(`{"event_id":"e","event_type":"eligibility.check","community_id":"c1","check_type":"single","data":{}}`)
	handled := func(when string) {
		t.Helper()
		if o := b.outcome(b.publish("eligibility.check.single", check)); o.Status != contract.StatusOK {
			t.Errorf("%s: %+v", when, o)
		}
	}
	handled("before")
	testserver.Eventually(t, "nothing is pending", func() bool { return b.left(contract.StreamEligibility, contract.ConsumerEligibility) == 0 })
	if err := b.js.DeleteStream(t.Context(), contract.StreamEligibility); err != nil {
		t.Fatal(err)
	}
	testserver.Eventually(t, "a work queue takes its place", func() bool {
		s, err := b.js.Stream(t.Context(), contract.StreamEligibility)
		return err == nil && s.CachedInfo().Config.Retention == jetstream.WorkQueuePolicy && p.Ready() == nil
	})
	handled("after")
}
