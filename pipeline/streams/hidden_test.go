package streams_test

import (
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"arrakis/loadtest/testserver"
)

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
			c, err := w.js.Consumer(t.Context(), "ELIGIBILITY", "eligibility-worker")
			if err != nil {
				t.Fatal(err)
			}
			seen := make(chan string, 100)
			pull := func() jetstream.ConsumeContext {
				running, err := c.Consume(func(m jetstream.Msg) {
					seen <- string(m.Data())
					_ = m.Ack()
				})
				if err != nil {
					t.Fatal(err)
				}
				return running
			}
			first := pull()
			url := w.js.Conn().ConnectedUrl()
			for _, status := range []string{"100", "404", "408", "503", "200", "409\r\nDescription: Consumer Deleted"} {
				testserver.PublishRaw(t, url, "eligibility.check.single", "Status: "+status, "")
			}
			<-first.Closed() // the library has taken the last one for the consumer's end
			second := pull()
			defer second.Stop()
			testserver.PublishRaw(t, url, "eligibility.check.single", "Status: 409", "with a body")
			if body := <-seen; body != "with a body" {
				t.Errorf("seen: %q", body)
			}
			w.keep()
			w.keep()
			testserver.Eventually(t, "nothing is left unacknowledged", func() bool {
				info, err := c.Info(t.Context())
				return err == nil && info.NumAckPending == 0 && info.NumPending == 0
			})
			letters := 0
			for len(w.letters) > 0 {
				<-w.letters
				letters++
			}
			if letters < 6 || len(seen) > 0 {
				t.Errorf("%d dead letters, want 6; %d more messages seen", letters, len(seen))
			}
			w.looks("ELIGIBILITY")
			if n := w.dropped("ELIGIBILITY"); n != 0 {
				t.Errorf("%d count as dropped", n)
			}
		})
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
}
