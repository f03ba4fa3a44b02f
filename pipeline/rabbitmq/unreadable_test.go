package rabbitmq

import (
	"errors"
	"strings"
	"testing"

	amqp "github.com/rabbitmq/amqp091-go"

	"arrakis/loadtest/testserver"
	"arrakis/pipeline/contract"
)

// deep is a message that RabbitMQ takes, and that amqp091-go cannot read.
func deep() amqp.Publishing {
	headers := amqp.Table{}
	for range 40 {
		headers = amqp.Table{"deeper": headers}
	}
	p := command(0)
	p.Headers = headers
	return p
}

// A message that cannot be read ends each connection that it comes on. What is before it is stored and acknowledged; then
// Drain ends and says what to do, and the next one goes on once the message is gone.
func TestUnreadable(t *testing.T) {
	t.Parallel()
	for kind, before := range map[string]int{
		"classic": 50,
		"quorum":  59, // it puts what comes back behind what has come back before
	} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			b := newBed(t, testserver.SharedRabbitMQ(t), kind)
			messages := commands(60)
			messages[50] = deep()
			b.send(t, messages...)
			o := b.options()
			o.Follow = true
			counts, err := Drain(t.Context(), o)
			if !errors.Is(err, errUnreadable) || !strings.Contains(err.Error(), "RabbitMQ at "+b.rabbit.Addr()) || !counts.Match() {
				t.Fatalf("%+v, %v", counts, err)
			}
			b.hasAll(t, before)
			testserver.Eventually(t, "the rest waits", func() bool { return b.ready(t) == 60-before })
			if _, err := Look(t.Context(), b.options()); !errors.Is(err, errUnreadable) {
				t.Errorf("look: %v", err)
			}
			testserver.Eventually(t, "the rest waits again", func() bool { return b.ready(t) == 60-before })
			b.takeOut(t)
			b.drainAll(t, b.options())
			b.hasAll(t, 59)
		})
	}
}

// takeOut takes out a message that cannot be read and is the next one.
func (b *bed) takeOut(t *testing.T) {
	t.Helper()
	was := b.ready(t)
	if _, _, err := b.rabbit.Channel(t).Get(b.queue, true); err == nil {
		t.Fatal("the next message can be read")
	}
	testserver.Eventually(t, "it is gone", func() bool { return b.ready(t) == was-1 })
}

// Once a message that cannot be read is gone, Drain holds as many as Prefetch again.
func TestUnreadableIsTakenOut(t *testing.T) {
	t.Parallel()
	b := newBed(t, testserver.SharedRabbitMQ(t), "classic")
	b.send(t, command(0))
	b.drainAll(t, b.options())
	b.bound(t, contract.StreamCommands, 1)
	b.send(t, command(1), deep())
	o := b.options()
	o.Prefetch = 5
	r := start(t, o)
	testserver.Eventually(t, "it is held alone", func() bool { return b.log.Count("connection to RabbitMQ is back") == 1 })
	b.takeOut(t)
	b.send(t, commands(22)[2:]...)
	b.bound(t, contract.StreamCommands, 12) // so that 10 are left
	testserver.Eventually(t, "as many as Prefetch are held", func() bool { return b.ready(t) == 5 })
	b.bound(t, contract.StreamCommands, -1)
	if counts := r.wait(t); counts.Reconnects != 1 || counts.Left != 0 || !counts.Match() {
		t.Errorf("%+v", counts)
	}
	b.hasAll(t, 22)
}
