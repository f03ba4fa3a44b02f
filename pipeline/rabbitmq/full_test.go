package rabbitmq

import (
	"errors"
	"testing"

	amqp "github.com/rabbitmq/amqp091-go"

	"arrakis/loadtest/testserver"
)

// small declares a queue that takes at most 10 messages and refuses more.
func (b *bed) small(t *testing.T) (*amqp.Channel, ReverseOptions) {
	t.Helper()
	ch, o := b.rabbit.Channel(t), b.back()
	o.RoutingKey = b.queue + "-small"
	if _, err := ch.QueueDeclare(o.RoutingKey, true, false, false, false, amqp.Table{"x-max-length": int32(10), "x-overflow": "reject-publish"}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if _, err := ch.QueueDelete(o.RoutingKey, false, false, false); err != nil {
			t.Error(err)
		}
	})
	return ch, o
}

// A queue at its bound refuses: what it refuses waits in the stream, and is tried again on the same connection. Once there is
// room, all go back.
func TestReverseRefused(t *testing.T) {
	t.Parallel()
	b := newBed(t, testserver.SharedRabbitMQ(t), "classic")
	b.send(t, commands(30)...)
	b.drainAll(t, b.options())
	ch, o := b.small(t)
	o.Idle = testserver.Patience
	done := make(chan struct{})
	var counts ReverseCounts
	var err error
	go func() { defer close(done); counts, err = Reverse(t.Context(), o) }()
	testserver.Eventually(t, "the queue is full", func() bool { return b.log.Count("RabbitMQ takes no more") == 1 })
	for range 30 {
		testserver.Eventually(t, "a message comes", func() bool {
			_, ok, err := ch.Get(o.RoutingKey, true)
			return ok && err == nil
		})
	}
	<-done
	if err != nil || counts.Acked != 30 || counts.Left != 0 || counts.Reconnects != 0 {
		t.Errorf("%+v, %v", counts, err)
	}
	if b.log.Count("RabbitMQ takes no more") != b.log.Count("RabbitMQ takes messages again") {
		t.Errorf("log:\n%s", b.log.String())
	}
}

// A queue that stays at its bound ends Reverse after Idle, and what it did not take is in the stream.
func TestReverseFull(t *testing.T) {
	t.Parallel()
	b := newBed(t, testserver.SharedRabbitMQ(t), "classic")
	b.send(t, commands(30)...)
	b.drainAll(t, b.options())
	ch, o := b.small(t)
	told := false
	o.Progress = func(ReverseCounts) { told = true }
	counts, err := Reverse(t.Context(), o)
	taken, failed := ch.QueueDeclarePassive(o.RoutingKey, true, false, false, false, nil)
	if !errors.Is(err, ErrFull) || failed != nil || counts.Acked != uint64(taken.Messages) || counts.Left != 30-counts.Acked ||
		counts.Reconnects != 0 || !told || b.log.Count("RabbitMQ takes no more") != 1 {
		t.Errorf("%+v, %v, the queue has %d, %v", counts, err, taken.Messages, failed)
	}
	if _, err := ch.QueuePurge(o.RoutingKey, false); err != nil {
		t.Fatal(err)
	}
	if counts, err := Reverse(t.Context(), b.back()); err != nil || counts.Left != 0 {
		t.Errorf("to another queue: %+v, %v", counts, err)
	}
}
