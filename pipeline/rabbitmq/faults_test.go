package rabbitmq

import (
	"errors"
	"sync/atomic"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"arrakis/loadtest/testserver"
	"arrakis/pipeline/contract"
)

// What RabbitMQ delivers again after it was killed is stored once, and nothing is missing.
func TestRabbitMQKilled(t *testing.T) {
	t.Parallel()
	b := newBed(t, testserver.RabbitMQ(t), "classic")
	const n = 1_000
	b.rabbit.Settle()
	b.send(t, commands(n)...)
	b.bound(t, contract.StreamCommands, 300) // so that it is killed in the middle
	r := start(t, b.options())
	testserver.Eventually(t, "the stream is full", func() bool { return b.log.Count("messages are not stored") == 1 })
	b.rabbit.Kill()
	testserver.Eventually(t, "the connection is lost", func() bool { return b.log.Count("RabbitMQ fails") == 1 })
	b.bound(t, contract.StreamCommands, -1)
	b.rabbit.Start()
	counts := r.wait(t)
	if counts.Reconnects == 0 || counts.Redelivered == 0 || counts.Left != 0 || counts.Stored > n || !counts.Match() {
		t.Errorf("%+v", counts)
	}
	b.hasAll(t, n)
}

// Connections break while messages are on their way in both directions. An acknowledgement for a delivery of another
// connection would lose a message, and RabbitMQ would close the channel for one that it does not know.
func TestConnectionsBreak(t *testing.T) {
	t.Parallel()
	b := newBed(t, testserver.SharedRabbitMQ(t), "quorum")
	const n = 4_000
	b.send(t, commands(n)...)
	proxy := testserver.Proxy(t, b.rabbit.Addr())
	o := b.options()
	o.Server.URL, o.Idle = "amqp://guest:guest@"+proxy.Addr(), 10*leastIdle // longer than a pause between two connections
	r := start(t, o)
	for cut := 1; cut <= 4; cut++ {
		testserver.Eventually(t, "more are stored", func() bool { return b.count(t, contract.StreamCommands) >= cut*n/8 })
		proxy.Cut()
	}
	if counts := r.wait(t); counts.Reconnects == 0 || counts.Left != 0 || counts.Stored > n || !counts.Match() {
		t.Errorf("%+v", counts)
	}
	b.hasAll(t, n)
	if lines := b.log.Count("PRECONDITION_FAILED"); lines != 0 {
		t.Errorf("RabbitMQ has refused an acknowledgement:\n%s", b.log.String())
	}
}

// While NATS is away, messages wait in RabbitMQ; no more than Prefetch are taken from it.
func TestNATSAway(t *testing.T) {
	t.Parallel()
	b := newBed(t, testserver.SharedRabbitMQ(t), "classic")
	o := b.options()
	o.Prefetch, o.Follow = 10, true
	r := start(t, o)
	b.send(t, commands(20)...)
	testserver.Eventually(t, "the first are stored", func() bool { return b.count(t, contract.StreamCommands) == 20 })
	b.nats.Stop()
	more := commands(60)
	b.send(t, more[20:]...)
	testserver.Eventually(t, "messages are not stored", func() bool { return b.log.Count("messages are not stored") == 1 })
	testserver.Eventually(t, "as many as Prefetch are held", func() bool { return b.ready(t) == 30 })
	b.nats.Start()
	testserver.Eventually(t, "all are stored", func() bool { return b.count(t, contract.StreamCommands) == 60 })
	testserver.Eventually(t, "all are acknowledged", func() bool { return b.ready(t) == 0 && b.log.Count("messages are stored again") == 1 })
	r.stop()
	if counts := r.wait(t); counts.Acked != 60 || counts.Left != 0 || !counts.Match() {
		t.Errorf("%+v", counts)
	}
}

// A stream that is full is no poison.
func TestStreamFull(t *testing.T) {
	t.Parallel()
	b := newBed(t, testserver.SharedRabbitMQ(t), "classic")
	b.bound(t, contract.StreamCommands, 5)
	b.send(t, commands(9)...)
	r := start(t, b.options())
	testserver.Eventually(t, "the stream is full", func() bool { return b.log.Count("messages are not stored") == 1 })
	b.bound(t, contract.StreamCommands, -1)
	if counts := r.wait(t); counts.Stored != 9 || counts.DeadLettered != 0 || counts.Left != 0 || !counts.Match() {
		t.Errorf("%+v", counts)
	}
}

// Whoever stops a Drain that cannot store finds everything in RabbitMQ.
func TestStoppedWhileNATSIsAway(t *testing.T) {
	t.Parallel()
	b := newBed(t, testserver.SharedRabbitMQ(t), "classic")
	b.bound(t, contract.StreamCommands, 1)
	b.send(t, commands(8)...)
	r := start(t, b.options())
	testserver.Eventually(t, "the stream is full", func() bool { return b.log.Count("messages are not stored") == 1 })
	r.stop()
	if counts := r.wait(t); counts.Acked != 1 || counts.Left != 7 || !counts.Match() {
		t.Errorf("%+v", counts)
	}
	if n := b.ready(t); n != 7 {
		t.Errorf("%d wait, want 7", n)
	}
}

// Dead letters that cannot be written wait like messages.
func TestDeadLettersAway(t *testing.T) {
	t.Parallel()
	b := newBed(t, testserver.SharedRabbitMQ(t), "classic")
	if err := b.js.DeleteStream(t.Context(), contract.StreamDeadLetter); err != nil {
		t.Fatal(err)
	}
	poison := commands(3)
	poison[1].Body = []byte("not JSON")
	b.send(t, poison...)
	r := start(t, b.options())
	testserver.Eventually(t, "the dead letter is not stored", func() bool { return b.log.Count("messages are not stored") == 1 })
	b.ensure(t)
	if counts := r.wait(t); counts.Stored != 2 || counts.DeadLettered != 1 || counts.Left != 0 || !counts.Match() {
		t.Errorf("%+v", counts)
	}
}

// A queue that was deleted is an error, but not at once: a node that starts again does not know its queues at first.
func TestQueueDeleted(t *testing.T) {
	t.Parallel()
	b := newBed(t, testserver.SharedRabbitMQ(t), "classic")
	o := b.options()
	o.Follow = true
	r := start(t, o)
	b.send(t, command(1))
	testserver.Eventually(t, "it is stored", func() bool { return b.count(t, contract.StreamCommands) == 1 })
	if _, err := b.rabbit.Channel(t).QueueDelete(b.queue, false, false, false); err != nil {
		t.Fatal(err)
	}
	<-r.done
	if r.err == nil || !Refused(r.err) || r.counts.Acked != 1 {
		t.Errorf("%v, %+v", r.err, r.counts)
	}
}

// A message that the server takes and the stream does not is a dead letter.
func TestStreamTakesLessThanServer(t *testing.T) {
	t.Parallel()
	b := newBed(t, testserver.SharedRabbitMQ(t), "classic", func(o *server.Options) { o.MaxPayload = 8 << 20 })
	s, err := b.js.Stream(t.Context(), contract.StreamCommands)
	if err != nil {
		t.Fatal(err)
	}
	config := s.CachedInfo().Config
	config.MaxMsgSize = 1_000
	if _, err := b.js.UpdateStream(t.Context(), config); err != nil {
		t.Fatal(err)
	}
	messages := commands(2)
	messages[0].CorrelationId = string(make([]byte, 200)) // fits
	messages[0].AppId = messages[0].CorrelationId
	messages[1].Body = append(messages[1].Body, make([]byte, 2_000)...)
	for i := range messages[1].Body {
		if messages[1].Body[i] == 0 {
			messages[1].Body[i] = ' '
		}
	}
	b.send(t, messages...)
	counts, err := Drain(t.Context(), b.options())
	if err != nil || counts.Stored != 1 || counts.DeadLettered != 1 || !counts.Match() {
		t.Errorf("%+v, %v", counts, err)
	}
}

// What was held when a connection was lost is in the queue again: whoever stops a Drain then must not be told that the queue
// is empty.
func TestStoppedWhileRabbitMQIsAway(t *testing.T) {
	t.Parallel()
	b := newBed(t, testserver.SharedRabbitMQ(t), "classic")
	b.bound(t, contract.StreamCommands, 1)
	b.send(t, commands(8)...)
	proxy := testserver.Proxy(t, b.rabbit.Addr())
	o := b.options()
	o.Server.URL = "amqp://guest:guest@" + proxy.Addr()
	var left atomic.Int64
	left.Store(-1)
	o.Progress = func(c Counts) { left.Store(int64(c.Left)) }
	r := start(t, o)
	testserver.Eventually(t, "all are held", func() bool { return left.Load() == 0 })
	proxy.Refuse()
	testserver.Eventually(t, "the connection is lost", func() bool { return b.log.Count("RabbitMQ fails") == 1 })
	r.stop()
	if counts := r.wait(t); counts.Acked != 1 || counts.Left != -1 {
		t.Errorf("%+v", counts)
	}
}

// A connection that was lost and is back is said to be back also if nothing comes.
func TestQuietQueueReconnects(t *testing.T) {
	t.Parallel()
	b := newBed(t, testserver.SharedRabbitMQ(t), "classic")
	b.send(t, command(1))
	proxy := testserver.Proxy(t, b.rabbit.Addr())
	o := b.options()
	o.Server.URL, o.Follow = "amqp://guest:guest@"+proxy.Addr(), true
	start(t, o)
	testserver.Eventually(t, "the message is stored", func() bool { return b.count(t, contract.StreamCommands) == 1 })
	for i := range 2 {
		proxy.Cut()
		testserver.Eventually(t, "the connection is back", func() bool { return b.log.Count("connection to RabbitMQ is back") == i+1 })
	}
}

// A connection to NATS that is closed for good, as when its user is refused, does not come back: Drain says so, and what it
// held is in RabbitMQ.
func TestNATSClosed(t *testing.T) {
	t.Parallel()
	b := newBed(t, testserver.SharedRabbitMQ(t), "classic")
	b.bound(t, contract.StreamCommands, 1)
	b.send(t, commands(3)...)
	o := b.options()
	o.NATS = b.nats.Connect(t)
	r := start(t, o)
	testserver.Eventually(t, "the stream is full", func() bool { return b.log.Count("messages are not stored") == 1 })
	o.NATS.Close()
	<-r.done
	if !errors.Is(r.err, nats.ErrConnectionClosed) || r.counts.Acked != 1 {
		t.Errorf("%v, %+v", r.err, r.counts)
	}
	testserver.Eventually(t, "the others wait", func() bool { return b.ready(t) == 2 })
}
