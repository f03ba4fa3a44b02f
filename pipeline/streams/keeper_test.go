package streams_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/redis/go-redis/v9"

	"arrakis/limiter/redishealth"
	"arrakis/loadtest/testserver"
	"arrakis/pipeline/streams"
)

// F4: a consumer that was deleted begins where it was, although its stream still holds all messages and no process
// remembers it.
func TestF4LostConsumerGoesOnWhereItWas(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		stream, consumer, subject string
		change                    func(*jetstream.StreamConfig)
	}{
		{"EVENTS", "event-worker", "events.member.join", func(*jetstream.StreamConfig) {}},
		// As arrakis made it before, and as it stays until somebody migrates it.
		{"ELIGIBILITY", "eligibility-worker", "eligibility.check.single", func(*jetstream.StreamConfig) {}},
	} {
		t.Run(tt.stream, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.stream(tt.stream, tt.change)
			stop := w.keep()
			w.publish(tt.subject, 10)
			w.take(tt.stream, tt.consumer, 6, true)
			testserver.Eventually(t, "the floor is kept", func() bool {
				return strings.HasSuffix(w.field(tt.stream, "floor:"+tt.consumer), " 6")
			})
			stop() // no worker runs when it happens
			if err := w.js.DeleteConsumer(t.Context(), tt.stream, tt.consumer); err != nil {
				t.Fatal(err)
			}
			w.forget() // another process makes it again
			w.ensure()
			if got := w.take(tt.stream, tt.consumer, 1, true); got[0] != 7 {
				t.Errorf("it begins with message %d, want 7", got[0])
			}
		})
	}
}

// F4: the floor belongs to one stream. After a stream was made again, an old floor must not skip its first messages.
func TestF4FloorOfAnEarlierStreamIsNotUsed(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.ensure()
	w.keep()
	w.publish("events.member.join", 5)
	w.take("EVENTS", "event-worker", 5, true)
	testserver.Eventually(t, "the floor is kept", func() bool { return strings.HasSuffix(w.field("EVENTS", "floor:event-worker"), " 5") })
	if err := w.js.DeleteStream(t.Context(), "EVENTS"); err != nil {
		t.Fatal(err)
	}
	_, err := w.js.CreateStream(t.Context(), jetstream.StreamConfig{
		Name: "EVENTS", Subjects: []string{"events.>"}, Storage: jetstream.MemoryStorage,
	})
	if err != nil {
		t.Fatal(err)
	}
	w.publish("events.member.join", 3)
	w.ensure()
	if got := w.take("EVENTS", "event-worker", 1, true); got[0] != 1 {
		t.Errorf("it begins with message %d, want 1", got[0])
	}
}

// F4: where the consumer was is not guessed. Without Redis it is made again only by a process that knows.
func TestF4WithoutRedis(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.ensure()
	w.keep()
	w.publish("events.member.join", 5)
	w.take("EVENTS", "event-worker", 5, true)
	testserver.Eventually(t, "the floor is kept", func() bool { return strings.HasSuffix(w.field("EVENTS", "floor:event-worker"), " 5") })
	if err := w.rdb.Close(); err != nil {
		t.Fatal(err)
	}
	if err := w.js.DeleteConsumer(t.Context(), "EVENTS", "event-worker"); err != nil {
		t.Fatal(err)
	}
	if err := w.js.DeleteStream(t.Context(), "DEADLETTER"); err != nil {
		t.Fatal(err)
	}
	w.publish("events.member.join", 1)
	knows := w.records
	w.forget()
	other, err := w.js.CreateStream(t.Context(), jetstream.StreamConfig{
		Name: "OTHER", Subjects: []string{"deadletter.>"}, Storage: jetstream.MemoryStorage,
	})
	if err != nil {
		t.Fatal(err)
	}
	err = w.tryEnsure()
	if !errors.Is(err, streams.ErrFloorUnknown) || !strings.Contains(err.Error(), "EVENTS/event-worker") || !strings.Contains(err.Error(), "stream DEADLETTER") {
		t.Errorf("more is missing than what Redis knows: %v", err)
	}
	if err := w.js.DeleteStream(t.Context(), other.CachedInfo().Config.Name); err != nil {
		t.Fatal(err)
	}
	err = w.tryEnsure()
	if !errors.Is(err, streams.ErrFloorUnknown) || !errors.Is(err, redis.ErrClosed) || !strings.Contains(err.Error(), "EVENTS/event-worker") {
		t.Errorf("a process that does not know: %v", err)
	}
	if _, err := w.js.Stream(t.Context(), "DEADLETTER"); err != nil {
		t.Errorf("what does not wait for Redis is created: %v", err)
	}
	w.records = knows
	w.ensure()
	if got := w.take("EVENTS", "event-worker", 1, true); got[0] != 6 {
		t.Errorf("a process that knows: it begins with message %d, want 6", got[0])
	}
}

// A Redis that has failed three times in a row is not asked, so that nobody waits for its time-outs.
func TestRecordsDoNotAskARedisThatIsAway(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	if err := w.rdb.Close(); err != nil {
		t.Fatal(err)
	}
	for i := range 4 {
		_, err := w.records.Dropped(t.Context(), "EVENTS")
		if asked := errors.Is(err, redis.ErrClosed); !errors.Is(err, redishealth.ErrAway) || asked != (i < 3) {
			t.Errorf("question %d: %v", i+1, err)
		}
	}
}

// F5: what ages out before a worker saw it is counted, once over all processes, and logged once. A message that a
// worker has seen is not counted.
func TestF5UnreadMessagesThatAgeOutAreCounted(t *testing.T) {
	t.Parallel()
	for _, retention := range []jetstream.RetentionPolicy{jetstream.WorkQueuePolicy, jetstream.LimitsPolicy} {
		t.Run(retention.String(), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.stream("ELIGIBILITY", func(c *jetstream.StreamConfig) {
				c.Retention, c.MaxAge, c.Discard = retention, 3*time.Second, jetstream.DiscardNew
			})
			for range 3 {
				w.keep()
			}
			w.looks("ELIGIBILITY")
			w.publish("eligibility.check.single", 20)
			w.publish("eligibility.sync.all", 10)
			w.take("ELIGIBILITY", "eligibility-worker", 5, true)
			w.take("ELIGIBILITY", "sync-worker", 2, false)
			w.messages("ELIGIBILITY", 0)
			testserver.Eventually(t, "15 checks and 8 syncs are counted", func() bool { return w.dropped("ELIGIBILITY") >= 23 })
			w.publish("eligibility.check.single", 4) // and they are handled
			w.take("ELIGIBILITY", "eligibility-worker", 4, true)
			w.looks("ELIGIBILITY")
			if got := w.dropped("ELIGIBILITY"); got != 23 {
				t.Errorf("%d are counted in the end, want 23", got)
			}
			if got := w.logged.Count("that no worker has seen"); got != 1 {
				t.Errorf("logged %d times, want once", got)
			}
		})
	}
}

// F5: a stream that discards old messages when it is full counts those that no worker has seen, and no others.
func TestF5UnreadMessagesEvictedBySizeAreCounted(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.stream("EVENTS", func(c *jetstream.StreamConfig) { c.MaxMsgs, c.Discard = 100, jetstream.DiscardOld })
	w.keep()
	w.publish("events.member.join", 100)
	w.take("EVENTS", "event-worker", 40, true)
	w.publish("events.member.join", 40) // evicts what was read
	w.looks("EVENTS")
	if got := w.dropped("EVENTS"); got != 0 {
		t.Fatalf("%d are counted though all had been read", got)
	}
	w.publish("events.member.join", 30)
	testserver.Eventually(t, "30 are counted", func() bool { return w.dropped("EVENTS") == 30 })
	w.take("EVENTS", "event-worker", 10, true)
	w.publish("events.member.join", 50) // evicts the 10 and 40 more
	testserver.Eventually(t, "70 are counted", func() bool { return w.dropped("EVENTS") == 70 })
	w.take("EVENTS", "event-worker", 60, true)
	w.looks("EVENTS")
	if got := w.dropped("EVENTS"); got != 70 {
		t.Errorf("%d are counted in the end, want 70", got)
	}
	if got, err := testutil.GatherAndCount(w.metrics, "arrakis_unread_dropped_total"); err != nil || got != 5 {
		t.Errorf("%d series, want one for each stream of the routes, and OVERFLOW (%v)", got, err)
	}
}

// F5: messages that age out while no worker runs are counted by the next one.
func TestF5DropsWhileNoWorkerRunsAreCounted(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.stream("COMMANDS", func(c *jetstream.StreamConfig) {
		c.Retention, c.Discard, c.MaxAge = jetstream.WorkQueuePolicy, jetstream.DiscardNew, 2*time.Second
	})
	stop := w.keep()
	w.publish("commands.interaction", 7)
	w.take("COMMANDS", "command-worker", 7, true)
	w.looks("COMMANDS")
	stop()
	w.publish("commands.interaction", 9)
	w.messages("COMMANDS", 0)
	w.keep()
	testserver.Eventually(t, "9 are counted", func() bool { return w.dropped("COMMANDS") == 9 })
}

// F5: a purge, and a work queue that is simply worked off, are no drops.
func TestF5WorkAndPurgesAreNotDrops(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ stream, consumer, subject string }{
		{"COMMANDS", "command-worker", "commands.interaction"},
		{"EVENTS", "event-worker", "events.guild.join"}, // drops its oldest, but is far from full
	} {
		t.Run(tt.stream, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.ensure()
			w.keep()
			w.publish(tt.subject, 50)
			w.take(tt.stream, tt.consumer, 50, true)
			w.publish(tt.subject, 5)
			w.looks(tt.stream)
			s, err := w.js.Stream(t.Context(), tt.stream)
			if err != nil {
				t.Fatal(err)
			}
			if err := s.Purge(t.Context()); err != nil {
				t.Fatal(err)
			}
			w.looks(tt.stream)
			w.looks(tt.stream)
			if got := w.dropped(tt.stream); got != 0 {
				t.Errorf("%d are counted", got)
			}
		})
	}
}

// F15: what a stream takes and nobody reads becomes a dead letter, and what a consumer has does not.
func TestF15UnreadSubjectsBecomeDeadLetters(t *testing.T) {
	t.Parallel()
	for _, retention := range []jetstream.RetentionPolicy{jetstream.WorkQueuePolicy, jetstream.LimitsPolicy} {
		t.Run(retention.String(), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.stream("ELIGIBILITY", func(c *jetstream.StreamConfig) {
				c.Retention, c.MaxAge = retention, time.Hour
				c.Subjects = append(c.Subjects, "orders.*") // an operator's
			})
			s, err := w.js.Stream(t.Context(), "ELIGIBILITY")
			if err != nil {
				t.Fatal(err)
			}
			_, err = s.CreateConsumer(t.Context(), jetstream.ConsumerConfig{
				Durable: "theirs", FilterSubject: "eligibility.theirs.>", AckPolicy: jetstream.AckExplicitPolicy,
			})
			if err != nil {
				t.Fatal(err)
			}
			w.publish("eligibility.check.single", 3)
			w.publish("eligibility.theirs.a", 3)
			w.publish("eligibility.other.x.y", 2)
			w.publish("eligibility.check", 1)
			w.publish("orders.new", 1)
			w.keep()
			w.keep()
			w.messages("ELIGIBILITY", 6)
			w.deadLetters("ELIGIBILITY", 4)
			got := map[string]int{}
			for len(w.letters) > 0 {
				got[<-w.letters]++
			}
			if got["eligibility.other.x.y"] < 2 || got["eligibility.check"] < 1 || got["orders.new"] < 1 || len(got) != 3 {
				t.Errorf("dead letters: %v", got)
			}
			w.looks("ELIGIBILITY")
			if n := w.dropped("ELIGIBILITY"); n != 0 {
				t.Errorf("%d of them count as dropped", n)
			}
			w.take("ELIGIBILITY", "eligibility-worker", 3, true)
			w.take("ELIGIBILITY", "theirs", 3, true)
		})
	}
}
