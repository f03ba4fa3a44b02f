package ingress

import (
	"errors"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"arrakis/loadtest/testserver"
	"arrakis/pipeline/contract"
)

// submission is a command that waits for so long.
func submission(t *testing.T, messageID string, wait time.Duration) *Submission {
	t.Helper()
	e, err := contract.Decode(contract.KindCommand, []byte(good))
	if err != nil {
		t.Fatal(err)
	}
	return &Submission{
		Kind: contract.KindCommand, Envelope: e, Body: []byte(good), MessageID: messageID, Wait: wait, SenderWait: time.Minute,
	}
}

// ask publishes an answer to m's sender as a worker does, and returns what became of it.
func (b *bed) ask(t *testing.T, m jetstream.Msg, answer string) string {
	t.Helper()
	reply, err := b.worker.Request(m.Headers().Get(contract.HeaderReplyTo), []byte(answer), testserver.Patience)
	if err != nil {
		t.Fatal(err)
	}
	return string(reply.Data)
}

// next takes the next message of COMMANDS.
func (b *bed) next(t *testing.T) jetstream.Msg {
	t.Helper()
	c, err := b.js.CreateOrUpdateConsumer(t.Context(), contract.StreamCommands, jetstream.ConsumerConfig{Durable: "worker", AckPolicy: jetstream.AckExplicitPolicy})
	if err != nil {
		t.Fatal(err)
	}
	m, err := c.Next(jetstream.FetchMaxWait(testserver.Patience))
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// TestSubmit: the worker that has answered learns whether the client of the request got its answer.
func TestSubmit(t *testing.T) {
	for name, written := range map[string]bool{contract.TakenInline: true, contract.TakenNot: false} {
		t.Run(name, func(t *testing.T) {
			b := newBed(t, nil)
			submitted := make(chan error, 1)
			go func() {
				r, err := b.in.Submit(t.Context(), submission(t, "m1", testserver.Patience))
				if err == nil && string(r.Data) != "pong" {
					err = errors.New("another answer: " + string(r.Data))
				}
				if err == nil {
					r.Written(written)
				}
				submitted <- err
			}()
			m := b.next(t)
			if got := m.Headers().Get(contract.HeaderWait); got != "60000" {
				t.Errorf("the sender waits %s ms, want 60000", got)
			}
			if got := b.ask(t, m, "pong"); got != name {
				t.Errorf("the worker was told %q, want %q", got, name)
			}
			if err := <-submitted; err != nil {
				t.Error(err)
			}
			if inFlight, waiting := b.counts(); inFlight != 0 || waiting != 0 {
				t.Errorf("%d in flight, %d waiting at the end", inFlight, waiting)
			}
		})
	}
}

// giveUp stores a message and waits in vain for its reply.
func (b *bed) giveUp(t *testing.T, messageID string) {
	t.Helper()
	_, err := b.in.Submit(t.Context(), submission(t, messageID, time.Second))
	if !errors.Is(err, ErrNoReply) && !errors.Is(err, ErrNotStored) { // a busy machine may store it, but not confirm it in time
		t.Fatalf("%v, want ErrNoReply", err)
	}
}

// TestSubmitLate: an answer that comes when its request has given up is the worker's to send.
func TestSubmitLate(t *testing.T) {
	t.Parallel()
	b := newBed(t, nil)
	b.giveUp(t, "m1")
	if got := b.ask(t, b.next(t), "pong"); got != contract.TakenLate {
		t.Errorf("the worker was told %q, want %q", got, contract.TakenLate)
	}
}

// TestSubmitRepeated: a message that the stream has is stored once, and its repetition does not wait for an answer that
// the first one gets.
func TestSubmitRepeated(t *testing.T) {
	t.Parallel()
	b := newBed(t, nil)
	b.giveUp(t, "m1")
	if _, err := b.in.Submit(t.Context(), submission(t, "m1", testserver.Patience)); !errors.Is(err, ErrRepeated) {
		t.Errorf("%v, want ErrRepeated", err)
	}
	if n := b.stored(t, contract.StreamCommands); n != 1 {
		t.Errorf("%d messages are stored, want 1", n)
	}
}

// TestSubmitNotRunning: an ingress that drains stores nothing.
func TestSubmitNotRunning(t *testing.T) {
	b := newBed(t, nil)
	b.stop()
	if err := <-b.ran; err != nil {
		t.Fatal(err)
	}
	if _, err := b.in.Submit(t.Context(), submission(t, "m1", testserver.Patience)); !errors.Is(err, ErrNotRunning) {
		t.Errorf("%v, want ErrNotRunning", err)
	}
}

// TestSubmitBusy: one community has a fourth of the places.
func TestSubmitBusy(t *testing.T) {
	b := newBed(t, func(o *Options) { o.MaxInFlight = 4 })
	held := b.hold(t.Context(), t)
	if _, err := b.in.Submit(t.Context(), submission(t, "m1", testserver.Patience)); !errors.Is(err, ErrBusy) {
		t.Errorf("%v, want ErrBusy", err)
	}
	b.work(t, always(`{"status":"ok"}`))
	<-held
}
