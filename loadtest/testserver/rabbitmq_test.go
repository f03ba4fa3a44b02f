package testserver_test

import (
	"fmt"
	"net"
	"strings"
	"testing"

	amqp "github.com/rabbitmq/amqp091-go"

	"arrakis/loadtest/testserver"
)

func TestRabbitMQStartsAgain(t *testing.T) {
	t.Parallel()
	s := testserver.RabbitMQ(t)
	kinds := []string{"classic", "quorum"}
	for _, kind := range kinds {
		if _, err := s.Channel(t).QueueDeclare(kind, true, false, false, false, amqp.Table{"x-queue-type": kind}); err != nil {
			t.Fatal(err)
		}
	}
	s.Settle()
	for _, kind := range kinds {
		ch := s.Channel(t)
		if err := ch.Confirm(false); err != nil {
			t.Fatal(err)
		}
		kept := amqp.Publishing{DeliveryMode: amqp.Persistent, Body: []byte(kind)}
		confirmed, err := ch.PublishWithDeferredConfirmWithContext(t.Context(), "", kind, true, false, kept)
		if err != nil || !confirmed.Wait() {
			t.Fatalf("publish to %s: %v", kind, err)
		}
	}
	s.Kill()
	if c, err := net.Dial("tcp", s.Addr()); err == nil {
		t.Errorf("%s answers without a server", c.RemoteAddr())
		_ = c.Close()
	}
	s.Start()
	for _, kind := range kinds {
		testserver.Succeeds(t, "the message is there again", func() error {
			d, ok, err := s.Channel(t).Get(kind, true) // an error closes the channel
			if err == nil && (!ok || string(d.Body) != kind) {
				err = fmt.Errorf("in %s: %v, %q", kind, ok, d.Body)
			}
			return err
		})
	}
}

func TestSharedRabbitMQ(t *testing.T) {
	t.Parallel()
	if first, second := testserver.SharedRabbitMQ(t), testserver.SharedRabbitMQ(t); first != second {
		t.Errorf("servers at %s and %s", first.Addr(), second.Addr())
	}
}

func TestRabbitMQSaysWhyItDoesNotStart(t *testing.T) {
	t.Parallel()
	testserver.Program(t, "rabbitmq-server", testserver.RabbitMQScripts)
	r := try(t, func(tb testing.TB) { testserver.RabbitMQ(tb, "no.such.setting = 1") })
	if !strings.Contains(r.failed, "the process has ended") || !strings.Contains(r.failed, "no.such.setting") {
		t.Errorf("failed with %q", r.failed)
	}
}
