package replies

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"arrakis/loadtest/testserver"
	"arrakis/pipeline/streams"
)

// stored is how a publish ended.
type stored struct {
	ack *jetstream.PubAck
	err error
}

func publish(tb testing.TB, m *Mux, subject, id string) stored {
	tb.Helper()
	msg := nats.NewMsg(subject)
	msg.Header.Set(jetstream.MsgIDHeader, id)
	ended := make(chan stored, 1)
	if err := m.Publish(tb.Context(), msg, patient(), func(ack *jetstream.PubAck, err error) { ended <- stored{ack, err} }); err != nil {
		tb.Fatal(err)
	}
	return <-ended
}

func TestPublish(t *testing.T) {
	nc := connect(t, testserver.NATS(t).URL())
	_, err := testserver.JetStream(t, nc).CreateStream(t.Context(), jetstream.StreamConfig{
		Name: "S", Subjects: []string{"s.>"}, Storage: jetstream.MemoryStorage, MaxMsgs: 1, Discard: jetstream.DiscardNew,
	})
	if err != nil {
		t.Fatal(err)
	}
	m, _ := start(t, nc, 4)
	if got := publish(t, m, "s.x", "1"); got.err != nil || *got.ack != (jetstream.PubAck{Stream: "S", Sequence: 1}) {
		t.Errorf("stored: %+v, error %v", got.ack, got.err)
	}
	if got := publish(t, m, "s.x", "1"); got.err != nil || !got.ack.Duplicate {
		t.Errorf("the same again: %+v, error %v; want a duplicate", got.ack, got.err)
	}
	if got := publish(t, m, "s.x", "2"); !streams.Full(got.err) {
		t.Errorf("one too many: %+v, error %v; want that the stream is full", got.ack, got.err)
	}
	if got := publish(t, m, "other", "3"); !errors.Is(got.err, jetstream.ErrNoStreamResponse) {
		t.Errorf("a subject of no stream: %+v, error %v; want ErrNoStreamResponse", got.ack, got.err)
	}
}

func TestAckThatIsNone(t *testing.T) {
	for _, data := range []string{"", "no JSON", "{}", `{"seq":1}`, `{"stream":7}`, "null"} {
		if ack, err := Ack(&nats.Msg{Data: []byte(data)}, nil); !errors.Is(err, jetstream.ErrInvalidJSAck) {
			t.Errorf("answer %q: ack %+v, error %v; want ErrInvalidJSAck", data, ack, err)
		}
	}
}

// JetStream does not answer over a connection that was made later, so whoever publishes need not wait for a deadline.
func TestLostConnectionIsToldToPublishers(t *testing.T) {
	server := testserver.NATS(t)
	requests := held(t, server.URL(), "slow") // a stream that does not answer
	proxy := testserver.Proxy(t, server.URL()[len("nats://"):])
	m, _ := start(t, connect(t, "nats://"+proxy.Addr()), 4)
	ended := make(chan error, 1)
	err := m.Publish(context.Background(), nats.NewMsg("slow"), patient(), func(_ *jetstream.PubAck, err error) { ended <- err })
	if err != nil {
		t.Fatal(err)
	}
	<-requests
	proxy.Cut()
	select {
	case err := <-ended:
		if !errors.Is(err, nats.ErrDisconnected) {
			t.Errorf("error %v, want ErrDisconnected", err)
		}
	case <-time.After(testserver.Patience):
		t.Error("the publisher was not told")
	}
}
