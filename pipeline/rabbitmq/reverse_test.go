package rabbitmq

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	amqp "github.com/rabbitmq/amqp091-go"

	"arrakis/loadtest/testserver"
	"arrakis/pipeline/contract"
)

func (b *bed) back() ReverseOptions {
	return ReverseOptions{
		Server: Server{URL: b.rabbit.URL()}, NATS: b.nc, From: Commands, RoutingKey: b.queue, Idle: leastIdle, Logger: b.log.Logger(),
	}
}

// takeAll takes all messages of the queue, by their message_id.
func (b *bed) takeAll(t *testing.T) map[string]amqp.Delivery {
	t.Helper()
	ch, all := b.rabbit.Channel(t), map[string]amqp.Delivery{}
	for {
		d, ok, err := ch.Get(b.queue, true)
		if err != nil {
			t.Fatal(err)
		}
		if !ok {
			return all
		}
		if _, twice := all[d.MessageId]; twice {
			t.Errorf("%s comes twice", d.MessageId)
		}
		all[d.MessageId] = d
	}
}

// What was drained goes back with its body and its properties, and is then gone from the stream.
func TestReverse(t *testing.T) {
	t.Parallel()
	b := newBed(t, testserver.SharedRabbitMQ(t), "quorum")
	messages := commands(700)
	messages[1].CorrelationId, messages[1].Headers = "c1", amqp.Table{"tries": int32(3), "traceparent": "00-1"}
	b.send(t, messages...)
	b.drainAll(t, b.options())
	counts, err := Reverse(t.Context(), b.back())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(ReverseCounts{Taken: 700, Confirmed: 700, Acked: 700}, counts); diff != "" {
		t.Errorf("counts (-want +got):\n%s", diff)
	}
	testserver.Eventually(t, "the stream is empty", func() bool { return b.count(t, contract.StreamCommands) == 0 })
	got := b.takeAll(t)
	for i := range messages {
		if d := got[fmt.Sprintf("e%d", i)]; string(d.Body) != string(messages[i].Body) || d.DeliveryMode != amqp.Persistent {
			t.Fatalf("%d: %+v", i, d)
		}
	}
	if d := got["e1"]; d.CorrelationId != "c1" || d.Headers["tries"] != "3" || d.Headers["traceparent"] != "00-1" {
		t.Errorf("%+v", d)
	}
}

// What went back, and comes to NATS once more while JetStream still knows it from before, is stored again.
func TestThereAndBackAndThere(t *testing.T) {
	t.Parallel()
	b := newBed(t, testserver.SharedRabbitMQ(t), "classic")
	b.send(t, commands(9)...)
	b.drainAll(t, b.options())
	for range 2 {
		if counts, err := Reverse(t.Context(), b.back()); err != nil || counts.Acked != 9 {
			t.Fatalf("back: %+v, %v", counts, err)
		}
		if counts, err := Drain(t.Context(), b.options()); err != nil || counts.Stored != 9 || counts.Duplicates != 0 {
			t.Fatalf("there again: %+v, %v", counts, err)
		}
	}
	b.hasAll(t, 9)
}

// Checks and syncs have consumers of their own, and both go back.
func TestReverseEligibility(t *testing.T) {
	t.Parallel()
	b := newBed(t, testserver.SharedRabbitMQ(t), "classic")
	b.send(t, amqp.Publishing{Body: []byte(`{"event_id":"1","guild_id":"g","check_type":"single"}`)},
		amqp.Publishing{Body: []byte(`{"event_id":"2","guild_id":"g","check_type":"community_sync"}`)})
	there, back := b.options(), b.back()
	there.To, back.From = Eligibility, Eligibility
	b.drainAll(t, there)
	counts, err := Reverse(t.Context(), back)
	if got := b.takeAll(t); err != nil || counts.Acked != 2 || len(got) != 2 {
		t.Errorf("%+v, %v, %d came", counts, err, len(got))
	}
}

// A message that no queue takes is confirmed by RabbitMQ all the same. It must stay in the stream.
func TestReverseUnroutable(t *testing.T) {
	t.Parallel()
	b := newBed(t, testserver.SharedRabbitMQ(t), "classic")
	b.send(t, commands(3)...)
	b.drainAll(t, b.options())
	o := b.back()
	o.RoutingKey = "nobody"
	counts, err := Reverse(t.Context(), o)
	if !errors.Is(err, ErrReturned) || counts.Returned != 3 || counts.Acked != 0 || b.count(t, contract.StreamCommands) != 3 {
		t.Fatalf("%+v, %v", counts, err)
	}
	if counts, err = Reverse(t.Context(), b.back()); err != nil || counts.Acked != 3 || counts.Redelivered != 3 {
		t.Errorf("%+v, %v", counts, err)
	}
}

func TestReverseLimit(t *testing.T) {
	t.Parallel()
	b := newBed(t, testserver.SharedRabbitMQ(t), "classic")
	b.send(t, commands(9)...)
	b.drainAll(t, b.options())
	o := b.back()
	o.Limit, o.Batch = 4, 3
	counts, err := Reverse(t.Context(), o)
	if err != nil || counts.Acked != 4 || counts.Left != 5 || b.ready(t) != 4 {
		t.Errorf("%+v, %v, %d came", counts, err, b.ready(t))
	}
}

// What a worker holds stays with it, and no worker may read beside Reverse.
func TestReverseBesideWorkers(t *testing.T) {
	t.Parallel()
	b := newBed(t, testserver.SharedRabbitMQ(t), "classic")
	b.send(t, commands(3)...)
	b.drainAll(t, b.options())
	consumer, err := b.js.Consumer(t.Context(), contract.StreamCommands, contract.ConsumerCommand)
	if err != nil {
		t.Fatal(err)
	}
	held, err := consumer.Next()
	if err != nil {
		t.Fatal(err)
	}
	counts, err := Reverse(t.Context(), b.back())
	if err != nil || counts.Acked != 2 || counts.Left != 1 {
		t.Errorf("%+v, %v", counts, err)
	}
	if err := held.Nak(); err != nil {
		t.Fatal(err)
	}
	reading, err := consumer.Consume(func(jetstream.Msg) {})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { reading.Stop(); <-reading.Closed() }()
	testserver.Eventually(t, "it reads", func() bool { info, err := consumer.Info(t.Context()); return err == nil && info.NumWaiting > 0 })
	if counts, err := Reverse(t.Context(), b.back()); !errors.Is(err, ErrWorkers) || counts.Taken != 0 {
		t.Errorf("%+v, %v", counts, err)
	}
}

func TestLook(t *testing.T) {
	t.Parallel()
	b := newBed(t, testserver.SharedRabbitMQ(t), "classic")
	b.send(t, command(1), amqp.Publishing{Body: []byte(`{"guild_id":"g"}`), MessageId: "m1"}, amqp.Publishing{Body: []byte("x")}, command(2))
	o := b.options()
	o.NATS, o.Limit = nil, 3
	got, err := Look(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	want := Preview{Waiting: 4, Messages: []Looked{
		{EventID: "e1", IDFrom: "envelope", Community: "comm_1", Kind: "command", Subject: "commands.interaction.comm_1", Bytes: len(command(1).Body)},
		{EventID: "m1", IDFrom: "message_id", Community: "g", Kind: "command", Subject: "commands.interaction.g", Bytes: 16},
		{
			Kind: "command", Subject: "deadletter.COMMANDS.malformed", Bytes: 1, Reason: contract.ReasonMalformed,
			Error: "expected a JSON object",
		},
	}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("preview (-want +got):\n%s", diff)
	}
	if n := b.ready(t); n != 4 || b.count(t, contract.StreamCommands) != 0 {
		t.Errorf("%d wait, want all 4; %d are stored", n, b.count(t, contract.StreamCommands))
	}
}

// A message that RabbitMQ or its library would close the channel for goes back without what they would not take: it must not
// stand in the way of the others.
func TestReverseHostile(t *testing.T) {
	t.Parallel()
	for name, headers := range map[string]nats.Header{
		"routing keys of its own": {"Amqp-Header-CC": {`["other"]`}, "Amqp-Header-BCC": {"other"}},
		"answers to a channel":    {"Amqp-Reply-To": {"amq.rabbitmq.reply-to"}},
		"long properties": {
			"Amqp-Message-Id": {strings.Repeat("m", 256)}, "Amqp-Type": {strings.Repeat("t", 256)}, "Amqp-Correlation-Id": {strings.Repeat("c", 256)},
			"Amqp-Reply-To": {strings.Repeat("r", 256)}, "Amqp-App-Id": {strings.Repeat("a", 256)},
		},
		"long names": {"Amqp-Header-" + strings.Repeat("n", 300): {"x"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBed(t, testserver.SharedRabbitMQ(t), "classic")
			body := command(1).Body
			if _, err := b.js.PublishMsg(t.Context(), &nats.Msg{Subject: "commands.interaction.comm_1", Header: headers, Data: body}); err != nil {
				t.Fatal(err)
			}
			counts, err := Reverse(t.Context(), b.back())
			if err != nil || counts.Acked != 1 || counts.Reconnects != 0 {
				t.Errorf("%+v, %v", counts, err)
			}
			if got := b.takeAll(t)["e1"]; string(got.Body) != string(body) {
				t.Errorf("%+v", got)
			}
		})
	}
}

// A consumer that is gone does not come back: Reverse must not ask for it for ever.
func TestReverseConsumerDeleted(t *testing.T) {
	t.Parallel()
	b := newBed(t, testserver.SharedRabbitMQ(t), "classic")
	b.send(t, command(1))
	b.drainAll(t, b.options())
	consumer, err := b.js.Consumer(t.Context(), contract.StreamCommands, contract.ConsumerCommand)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := consumer.Next(); err != nil { // so that something is left
		t.Fatal(err)
	}
	o := b.back()
	o.Idle = testserver.Patience
	o.Progress = func(ReverseCounts) {
		if err := b.js.DeleteConsumer(context.WithoutCancel(t.Context()), contract.StreamCommands, contract.ConsumerCommand); err != nil {
			t.Error(err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), testserver.Patience/2)
	defer cancel()
	if counts, err := Reverse(ctx, o); !errors.Is(err, jetstream.ErrConsumerNotFound) || counts.Left != 1 {
		t.Errorf("%+v, %v", counts, err)
	}
}
