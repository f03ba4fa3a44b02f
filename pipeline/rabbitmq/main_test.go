package rabbitmq

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	amqp "github.com/rabbitmq/amqp091-go"
	"go.uber.org/goleak"

	"arrakis/loadtest/testserver"
	"arrakis/pipeline/contract"
	"arrakis/pipeline/streams"
)

func TestMain(m *testing.M) {
	testserver.WaitTogether()
	goleak.VerifyTestMain(testserver.M{M: m}, testserver.NATSLeaks()...)
}

// bed is a queue of RabbitMQ and the streams of arrakis.
type bed struct {
	rabbit *testserver.RabbitMQServer
	nats   *testserver.NATSServer
	nc     *nats.Conn
	js     jetstream.JetStream
	queue  string
	log    testserver.Output
}

// newBed makes a queue of the type, classic or quorum, on the server, and streams on a nats-server of its own.
func newBed(t *testing.T, rabbit *testserver.RabbitMQServer, kind string, changes ...func(*server.Options)) *bed {
	t.Helper()
	b := &bed{rabbit: rabbit, nats: testserver.NATS(t, changes...), queue: t.Name()}
	b.nc = b.nats.Connect(t, nats.MaxReconnects(-1), nats.ReconnectWait(10*time.Millisecond))
	b.js = testserver.JetStream(t, b.nc)
	b.ensure(t)
	ch := rabbit.Channel(t)
	if _, err := ch.QueueDeclare(b.queue, true, false, false, false, amqp.Table{"x-queue-type": kind}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if ch.IsClosed() { // the server was killed
			return
		}
		if _, err := ch.QueueDelete(b.queue, false, false, false); err != nil {
			t.Error(err)
		}
	})
	return b
}

// ensure makes the streams that are missing.
func (b *bed) ensure(t *testing.T) {
	t.Helper()
	if err := streams.Ensure(t.Context(), b.js, nil, streams.Options{}, b.log.Logger()); err != nil {
		t.Fatal(err)
	}
}

// bound sets how many messages a stream takes; -1: any number.
func (b *bed) bound(t *testing.T, stream string, messages int64) {
	t.Helper()
	s, err := b.js.Stream(t.Context(), stream)
	if err != nil {
		t.Fatal(err)
	}
	config := s.CachedInfo().Config
	config.MaxMsgs = messages
	if _, err := b.js.UpdateStream(t.Context(), config); err != nil {
		t.Fatal(err)
	}
}

// count is how many messages a stream has, 0 while NATS does not answer.
func (b *bed) count(t *testing.T, stream string) int {
	t.Helper()
	s, err := b.js.Stream(t.Context(), stream)
	if err != nil {
		return 0
	}
	return int(s.CachedInfo().State.Msgs)
}

func (b *bed) options() Options {
	return Options{
		Server: Server{URL: b.rabbit.URL()}, NATS: b.nc, Queue: b.queue, To: Commands, Idle: leastIdle, Logger: b.log.Logger(),
	}
}

// send puts messages into the queue, and returns when RabbitMQ has confirmed them.
func (b *bed) send(t *testing.T, messages ...amqp.Publishing) {
	t.Helper()
	ch := b.rabbit.Channel(t)
	if err := ch.Confirm(false); err != nil {
		t.Fatal(err)
	}
	confirms := make([]*amqp.DeferredConfirmation, len(messages))
	for i := range messages {
		var err error
		messages[i].DeliveryMode = amqp.Persistent
		if confirms[i], err = ch.PublishWithDeferredConfirmWithContext(t.Context(), "", b.queue, true, false, messages[i]); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range confirms {
		if !c.Wait() {
			t.Fatal("RabbitMQ has not taken a message")
		}
	}
}

// ready is how many messages wait in the queue.
func (b *bed) ready(t *testing.T) int {
	t.Helper()
	q, err := b.rabbit.Channel(t).QueueDeclarePassive(b.queue, true, false, false, false, nil)
	if err != nil {
		t.Fatal(err)
	}
	return q.Messages
}

// stored are the messages of a stream.
func (b *bed) stored(t *testing.T, stream string) []*jetstream.RawStreamMsg {
	t.Helper()
	s, err := b.js.Stream(t.Context(), stream)
	if err != nil {
		t.Fatal(err)
	}
	state := s.CachedInfo().State
	messages := make([]*jetstream.RawStreamMsg, 0, state.Msgs)
	for seq := state.FirstSeq; state.Msgs > 0 && seq <= state.LastSeq; seq++ {
		m, err := s.GetMsg(t.Context(), seq)
		if err != nil {
			t.Fatal(err)
		}
		messages = append(messages, m)
	}
	return messages
}

// drainAll drains the queue.
func (b *bed) drainAll(t *testing.T, o Options) {
	t.Helper()
	if counts, err := Drain(t.Context(), o); err != nil || counts.Left != 0 {
		t.Fatalf("%+v, %v", counts, err)
	}
}

// hasAll fails unless COMMANDS has each of n commands once.
func (b *bed) hasAll(t *testing.T, n int) {
	t.Helper()
	ids := map[string]bool{}
	stored := b.stored(t, contract.StreamCommands)
	for _, m := range stored {
		ids[m.Header.Get(jetstream.MsgIDHeader)] = true
	}
	if len(stored) != n || len(ids) != n {
		t.Errorf("%d messages are stored, %d different ones, want %d", len(stored), len(ids), n)
	}
}

// command is an envelope of a command.
func command(id int) amqp.Publishing {
	return amqp.Publishing{Body: fmt.Appendf(nil, `{"event_id":"e%d","event_type":"interaction.create","guild_id":"comm_%d","data":{"command_name":"ping"}}`, id, id%7)}
}

func commands(n int) []amqp.Publishing {
	all := make([]amqp.Publishing, n)
	for i := range all {
		all[i] = command(i)
	}
	return all
}

// running is a Drain in the background.
type running struct {
	counts Counts
	err    error
	done   chan struct{}
	stop   context.CancelFunc
}

func start(t *testing.T, o Options) *running {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	r := &running{done: make(chan struct{}), stop: stop}
	go func() {
		defer close(r.done)
		r.counts, r.err = Drain(ctx, o)
	}()
	t.Cleanup(func() { stop(); <-r.done })
	return r
}

// wait waits for the end of the Drain.
func (r *running) wait(t *testing.T) Counts {
	t.Helper()
	select {
	case <-r.done:
	case <-time.After(testserver.Patience):
		t.Fatal("Drain does not return")
	}
	if r.err != nil {
		t.Fatal(r.err)
	}
	return r.counts
}
