package pipeline

import (
	"bytes"
	"context"
	"fmt"
	"strconv"
	"testing"

	"arrakis/loadtest/testserver"
	"arrakis/pipeline/contract"
	"arrakis/tenant"
)

// What is deleted while the worker runs is made again, and traffic goes on.
func TestLostStreamsAndConsumersAreMadeAgain(t *testing.T) {
	b := setup(t)
	b.handlers.Command("ping", func(context.Context, *Message) (any, error) { return "pong", nil })
	p, _ := b.start()
	for name, remove := range map[string]func() error{
		"consumer": func() error {
			return b.js.DeleteConsumer(t.Context(), contract.StreamCommands, contract.ConsumerCommand)
		},
		"stream": func() error { return b.js.DeleteStream(t.Context(), contract.StreamCommands) },
	} {
		if err := remove(); err != nil {
			t.Fatal(err)
		}
		testserver.Eventually(b.t, name+" is made again", func() bool {
			_, err := b.js.Consumer(t.Context(), contract.StreamCommands, contract.ConsumerCommand)
			return err == nil && p.Ready() == nil
		})
		if o := b.outcome(b.publish("commands.interaction", command("c1", "ping", "after-"+name))); o.Status != contract.StatusOK {
			t.Errorf("after the %s was lost: %+v", name, o)
		}
	}
}

// Without the stream of dead letters malformed messages wait, and nobody else.
func TestDeadLettersThatCannotBeStoredHoldUpNobody(t *testing.T) {
	const bad = 2_000
	b := setup(t)
	b.handlers.Command("ping", func(context.Context, *Message) (any, error) { return "pong", nil })
	if _, _, err := b.store.UpgradeTier(t.Context(), "good", tenant.Enterprise); err != nil {
		t.Fatal(err)
	}
	p, _ := b.start()
	p.ensurer.mu.Lock() // nobody makes it again for now
	if err := b.js.DeleteStream(t.Context(), contract.StreamDeadLetter); err != nil {
		t.Fatal(err)
	}
	for range bad {
		if _, err := b.js.PublishAsync("commands.interaction", []byte("not JSON"), patient); err != nil {
			t.Fatal(err)
		}
	}
	<-b.js.PublishAsyncComplete()
	for i := range 5 {
		if o := b.outcome(b.publish("commands.interaction", command("good", "ping", fmt.Sprintf("e%d", i)))); o.Status != contract.StatusOK {
			t.Errorf("a good message beside: %+v", o)
		}
	}
	testserver.Eventually(b.t, "only the malformed messages are left", func() bool {
		return b.left(contract.StreamCommands, contract.ConsumerCommand) == bad
	})
	p.ensurer.mu.Unlock()
	testserver.Eventually(b.t, "all are stored once they can be", func() bool {
		_, err := b.js.Stream(t.Context(), contract.StreamDeadLetter)
		return err == nil && b.deadLetters(contract.ReasonMalformed) == bad
	})
}

// A body that leaves no room for the headers of a dead letter is cut.
func TestLargestMessageBecomesADeadLetter(t *testing.T) {
	b := setup(t)
	b.start()
	body := bytes.Repeat([]byte("x"), int(b.nc.MaxPayload())-100)
	if _, err := b.js.Publish(t.Context(), "commands.interaction", body); err != nil {
		t.Fatal(err)
	}
	testserver.Eventually(b.t, "it is a dead letter", func() bool { return b.deadLetters(contract.ReasonMalformed) == 1 })
	s, err := b.js.Stream(t.Context(), contract.StreamDeadLetter)
	if err != nil {
		t.Fatal(err)
	}
	letter, err := s.GetLastMsgForSubject(t.Context(), "deadletter.COMMANDS.malformed")
	if err != nil {
		t.Fatal(err)
	}
	if got := letter.Header.Get(contract.HeaderTruncated); got != strconv.Itoa(len(body)) {
		t.Errorf("%s is %q, want %d", contract.HeaderTruncated, got, len(body))
	}
	if !bytes.HasPrefix(body, letter.Data) || len(letter.Data) < len(body)-10_000 {
		t.Errorf("the dead letter holds %d bytes", len(letter.Data))
	}
}
