package streams

import (
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

func TestSubjects(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		filter, subject string
		covers, meet    bool
	}{
		{"eligibility.check.>", "eligibility.check.single", true, true},
		{"eligibility.check.>", "eligibility.check.single.c1", true, true},
		{"eligibility.check.>", "eligibility.check", false, false},
		{"eligibility.check.>", "eligibility.checks.a", false, false},
		{"eligibility.check.>", "eligibility.>", false, true},
		{"eligibility.>", "eligibility.check.>", true, true},
		{"commands.>", "commands.>", true, true},
		{"commands.*", "commands.>", false, true},
		{"commands.>", "commands.*", true, true},
		{"commands.*", "commands.a", true, true},
		{"commands.*", "commands.a.b", false, false},
		{"commands.a", "commands.*", false, true},
		{"*.a", "commands.*", false, true},
		{"*.a", "commands.b", false, false},
		{">", "anything", true, true},
		{"commands", "commands.a", false, false},
	} {
		if got := covers(tt.filter, tt.subject); got != tt.covers {
			t.Errorf("covers(%q, %q) = %t", tt.filter, tt.subject, got)
		}
		if got, back := meet(tt.filter, tt.subject), meet(tt.subject, tt.filter); got != tt.meet || back != tt.meet {
			t.Errorf("meet(%q, %q) = %t, and %t the other way", tt.filter, tt.subject, got, back)
		}
	}
}

// begun is when the stream of these tests and its consumer were created.
var begun = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// queue is a look at a work queue that keeps messages for an hour, at a time since begun. oldest is the age of its
// oldest message.
func queue(at time.Duration, last, msgs, delivered uint64, pending int, oldest time.Duration) *sample {
	info := &jetstream.StreamInfo{
		Config:    jetstream.StreamConfig{Retention: jetstream.WorkQueuePolicy, Discard: jetstream.DiscardNew, MaxBytes: 1, MaxAge: time.Hour},
		Created:   begun,
		TimeStamp: begun.Add(at),
		State:     jetstream.StreamState{LastSeq: last, Msgs: msgs, FirstSeq: last + 1 - msgs, FirstTime: begun.Add(at - oldest)},
	}
	return &sample{stream: info, after: info, consumers: []*jetstream.ConsumerInfo{{
		Name: "w", Created: begun, Delivered: jetstream.SequenceInfo{Consumer: delivered, Stream: last - uint64(pending)},
		NumPending: uint64(pending), NumAckPending: int(msgs) - pending,
	}}}
}

// look makes the next tally, and checks how many dropped messages it adds.
func (t tally) look(tb testing.TB, s *sample, redelivered int64, want uint64) tally {
	tb.Helper()
	after, added := t.next(s, redelivered, 0)
	if added != want {
		tb.Errorf("at %s: %d are added, want %d", s.stream.TimeStamp.Sub(begun), added, want)
	}
	return after
}

// F5: the count goes by what can have been dropped, and is added when two looks have found it.
func TestF5Tally(t *testing.T) {
	t.Parallel()
	const s = time.Second
	c := tally{}.look(t, queue(0, 0, 0, 0, 0, 0), 0, 0)
	c = c.look(t, queue(5*s, 100, 40, 70, 30, 5*s), 0, 0)
	// A server that was killed has lost the last deliveries, and a purge took 10: nothing can have aged out.
	c = c.look(t, queue(10*s, 100, 20, 60, 20, 10*s), 0, 0)
	c = c.look(t, queue(15*s, 100, 20, 60, 20, 15*s), 0, 0)
	// An hour later, 20 have aged out.
	c = c.look(t, queue(time.Hour+20*s, 100, 0, 60, 0, 0), 0, 0)
	c = c.look(t, queue(time.Hour+25*s, 100, 0, 60, 0, 0), 0, 20)
	c = c.look(t, queue(time.Hour+30*s, 100, 0, 60, 0, 0), 0, 0)
	if !c.Dropping || c.Dropped != 20 {
		t.Errorf("%+v", c)
	}
	c = c.look(t, queue(time.Hour+90*s, 100, 0, 60, 0, 0), 0, 0)
	if c.Dropping {
		t.Error("a minute without a drop: still dropping")
	}
	// The backlog grows old, and its handlers fail: of 50 messages 10 are delivered four times and 15 age out.
	c = c.look(t, queue(2*time.Hour, 150, 50, 60, 50, 10*s), 0, 0)
	c = c.look(t, queue(3*time.Hour, 150, 25, 100, 25, 59*time.Minute), 30, 0)
	c = c.look(t, queue(3*time.Hour+5*s, 150, 25, 100, 25, 59*time.Minute), 30, 15)
	// One look's excess is not enough: a message that was held when it aged out leaves the lists one after the other.
	c = c.look(t, queue(3*time.Hour+10*s, 150, 24, 100, 25, 59*time.Minute), 30, 0)
	c.look(t, queue(3*time.Hour+15*s, 150, 25, 100, 25, 59*time.Minute), 30, 0)
}

// F5: a lost consumer takes its numbers along. What was dropped since the last look is then counted by what has left.
func TestF5TallyOfALostConsumer(t *testing.T) {
	t.Parallel()
	c := tally{}.look(t, queue(0, 100, 40, 60, 40, 0), 0, 0)
	again := queue(2*time.Hour, 100, 0, 0, 0, 0)
	again.consumers[0].Created = begun.Add(2 * time.Hour)
	c = c.look(t, again, 0, 0)
	c = c.look(t, again, 0, 40)
	c = c.look(t, again, 0, 0)
	young := queue(2*time.Hour+5*time.Second, 120, 10, 0, 10, 0)
	young.consumers[0].Created = begun.Add(2*time.Hour + time.Second)
	c = c.look(t, young, 0, 0) // nothing is old enough
	c.look(t, young, 0, 0)
}
