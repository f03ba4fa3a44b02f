package streams_test

import (
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"arrakis/loadtest/testserver"
)

// consumer returns a consumer whose messages soon come again.
func (w *world) consumer(stream, name string) jetstream.Consumer {
	w.t.Helper()
	c, err := w.js.Consumer(w.t.Context(), stream, name)
	if err != nil {
		w.t.Fatal(err)
	}
	config := c.CachedInfo().Config
	config.AckWait = time.Second
	if c, err = w.js.UpdateConsumer(w.t.Context(), stream, config); err != nil {
		w.t.Fatal(err)
	}
	return c
}

// pull takes messages from a consumer, as a worker does. If ack is true, it acknowledges them and tells seen; else they
// come again.
func (w *world) pull(c jetstream.Consumer, seen chan<- string, ack bool) jetstream.ConsumeContext {
	w.t.Helper()
	running, err := c.Consume(func(m jetstream.Msg) {
		if ack {
			_ = m.Ack()
			seen <- string(m.Data())
		}
	})
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(running.Stop)
	return running
}

// pullOn acknowledges messages and tells seen, again and again, whatever the library takes for the end.
func (w *world) pullOn(c jetstream.Consumer, seen chan<- string) {
	ctx, ended := w.t.Context(), make(chan struct{})
	w.t.Cleanup(func() { <-ended })
	go func() {
		defer close(ended)
		for ctx.Err() == nil {
			batch, err := c.Fetch(100, jetstream.FetchMaxWait(100*time.Millisecond))
			if err != nil {
				continue
			}
			for m := range batch.Messages() {
				_ = m.Ack()
				seen <- string(m.Data())
			}
		}
	}()
}

// unacknowledged waits until a consumer has n messages that it delivered and that are not acknowledged, and none that
// it has not delivered.
func (w *world) unacknowledged(c jetstream.Consumer, n int) {
	w.t.Helper()
	testserver.Eventually(w.t, "only what a worker holds is unacknowledged", func() bool {
		info, err := c.Info(w.t.Context())
		return err == nil && info.NumAckPending == n && info.NumPending == 0
	})
}

func wait[T any](t *testing.T, what string, c <-chan T) (v T) {
	t.Helper()
	select {
	case v = <-c:
	case <-time.After(testserver.Patience):
		t.Fatalf("%s: not within %s", what, testserver.Patience)
	}
	return v
}

// A message with the header Status and without a body was taken by the NATS library for a word of the server: no worker
// saw it, it held a place among the unacknowledged messages until it was too old, and with the status of a deleted
// consumer it ended the pull requests each time it was delivered.
func TestMessagesThatNoWorkerSeesBecomeDeadLetters(t *testing.T) {
	t.Parallel()
	for _, retention := range []jetstream.RetentionPolicy{jetstream.WorkQueuePolicy, jetstream.LimitsPolicy} {
		t.Run(retention.String(), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.stream("ELIGIBILITY", func(c *jetstream.StreamConfig) { c.Retention, c.MaxAge = retention, time.Hour })
			c := w.consumer("ELIGIBILITY", "eligibility-worker")
			seen := make(chan string, 100)
			first := w.pull(c, seen, true)
			url := w.js.Conn().ConnectedUrl()
			for _, status := range []string{"100", "404", "408", "503", "200", "409\r\nDescription: Consumer Deleted"} {
				testserver.PublishRaw(t, url, "eligibility.check.single", "Status: "+status, "")
			}
			wait(t, "the library takes the last one for the consumer's end", first.Closed())
			w.pullOn(c, seen)
			w.keep()
			w.keep()
			testserver.PublishRaw(t, url, "eligibility.check.single", "Status: 409", "with a body")
			if body := wait(t, "a message with a body is seen", seen); body != "with a body" {
				t.Errorf("seen: %q", body)
			}
			w.unacknowledged(c, 0)
			w.deadLetters("ELIGIBILITY", 6)
			if len(seen) > 0 {
				t.Errorf("%d more messages seen", len(seen))
			}
			w.looks("ELIGIBILITY")
			if n := w.dropped("ELIGIBILITY"); n != 0 {
				t.Errorf("%d count as dropped", n)
			}
		})
	}
}

// A hidden message behind one that takes long held its place for as long.
func TestHiddenMessagesBehindASlowOne(t *testing.T) {
	t.Parallel()
	for _, retention := range []jetstream.RetentionPolicy{jetstream.WorkQueuePolicy, jetstream.LimitsPolicy} {
		t.Run(retention.String(), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.stream("ELIGIBILITY", func(c *jetstream.StreamConfig) { c.Retention = retention })
			c := w.consumer("ELIGIBILITY", "eligibility-worker")
			w.pull(c, nil, false)
			url := w.js.Conn().ConnectedUrl()
			w.publish("eligibility.check.single", 1)
			testserver.PublishRaw(t, url, "eligibility.check.single", "Status: 100", "")
			w.publish("eligibility.check.single", 150) // more than one look reads
			testserver.PublishRaw(t, url, "eligibility.check.single", "Status: 100", "")
			w.unacknowledged(c, 153)
			w.keep()
			w.unacknowledged(c, 151)
			w.deadLetters("ELIGIBILITY", 2)
		})
	}
}

// While a message could not be deleted, its dead letter was written again up to 1,000 times a look, and counted, and no
// log line said why.
func TestMessagesThatCannotBeDeleted(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.stream("ELIGIBILITY", func(c *jetstream.StreamConfig) { c.DenyDelete = true })
	c := w.consumer("ELIGIBILITY", "eligibility-worker")
	w.pull(c, nil, false)
	w.keep()
	w.looks("ELIGIBILITY") // the count has begun
	url := w.js.Conn().ConnectedUrl()
	testserver.PublishRaw(t, url, "eligibility.check.single", "Status: 100", "")
	testserver.PublishRaw(t, url, "eligibility.other", "Status: 100", "")
	w.deadLetters("ELIGIBILITY", 2)
	w.looks("ELIGIBILITY")
	w.deadLetters("ELIGIBILITY", 2)
	if len(w.letters) != 2 {
		t.Errorf("%d dead letters were stored, want one for each message", len(w.letters))
	}
	if got := w.field("ELIGIBILITY", "swept"); got != "1" {
		t.Errorf("%q messages that nobody reads are counted, want 1", got)
	}
	if w.logged.Count("message delete not permitted") == 0 {
		t.Error("the log does not say why")
	}
	for text, want := range map[string]int{"cannot become dead letters": 2, "became dead letters": 0} {
		if got := w.logged.Count(text); got != want {
			t.Errorf("%q is logged %d times, want %d", text, got, want)
		}
	}
}

// F4: the floors of a stream waited for the sweep of another.
func TestF4FloorsDoNotWaitForSweeps(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.ensure()
	c := w.consumer("COMMANDS", "command-worker")
	w.pull(c, nil, false)
	testserver.PublishRaw(t, w.js.Conn().ConnectedUrl(), "commands.interaction", "Status: 100", "")
	w.unacknowledged(c, 1)
	w.publish("events.member.join", 5)
	w.take("EVENTS", "event-worker", 5, true)
	kept := make(chan string, 1)
	var once sync.Once
	w.before = func(string) { once.Do(func() { kept <- w.field("EVENTS", "floor:event-worker") }) }
	w.keep()
	if floor := wait(t, "a dead letter", kept); !strings.HasSuffix(floor, " 5") {
		t.Errorf("during the first sweep, the floor of EVENTS is %q", floor)
	}
}

// Headers that cannot be decoded kept a message whose subject nobody reads from becoming a dead letter, and those after
// it as well.
func TestF15UnreadableHeaders(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.stream("ELIGIBILITY", func(c *jetstream.StreamConfig) { c.Retention = jetstream.WorkQueuePolicy })
	url := w.js.Conn().ConnectedUrl()
	testserver.PublishRaw(t, url, "eligibility.other", "no colon", "body")
	testserver.PublishRaw(t, url, "eligibility.other", "Status: 404", "")
	w.keep()
	w.messages("ELIGIBILITY", 0)
	w.deadLetters("ELIGIBILITY", 2)
}
