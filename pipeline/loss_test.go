package pipeline

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"arrakis/loadtest/testserver"
	"arrakis/pipeline/contract"
	"arrakis/tenant"
)

// What is deleted while the worker runs is made again, and traffic goes on.
func TestLostStreamsAndConsumersAreMadeAgain(t *testing.T) {
	t.Parallel()
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

// Without the stream of dead letters malformed messages wait in RETRY, and nobody else waits.
func TestDeadLettersThatCannotBeStoredHoldUpNobody(t *testing.T) {
	t.Parallel()
	const bad = 2_000
	b := setup(t)
	b.handlers.Command("ping", func(context.Context, *Message) (any, error) { return "pong", nil })
	if _, _, err := b.store.UpgradeTier(t.Context(), "good", tenant.Enterprise); err != nil {
		t.Fatal(err)
	}
	b.adjust = func(p *Pipeline) { p.metrics.parkTime = time.Second }
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
	testserver.Eventually(b.t, "no message waits unacknowledged", func() bool {
		return b.left(contract.StreamCommands, contract.ConsumerCommand) == 0
	})
	p.ensurer.mu.Unlock()
	testserver.Eventually(b.t, "all are stored once they can be", func() bool {
		_, err := b.js.Stream(t.Context(), contract.StreamDeadLetter)
		return err == nil && b.deadLetters(contract.ReasonMalformed) == bad
	})
}

// A body that leaves no room for the headers of a dead letter is cut.
func TestLargestMessageBecomesADeadLetter(t *testing.T) {
	t.Parallel()
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

// F13: a header that leaves no room for those of the dead letter does not keep the message from becoming one.
func TestF13HostileHeaders(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.start()
	for name, value := range map[string]string{"Arrakis-X": strings.Repeat("x", 60_000), "X": strings.Repeat("x", 65_000)} {
		m := nats.NewMsg("commands.interaction")
		m.Header[name] = []string{value}
		m.Data = bytes.Repeat([]byte("x"), int(b.nc.MaxPayload())-len(value)-100)
		if _, err := b.js.PublishMsg(t.Context(), m); err != nil {
			t.Fatal(err)
		}
	}
	// nats.go reads a name with a space, but does not write it.
	publishRaw(t, b.nc.ConnectedAddr(), "commands.interaction", "NATS/1.0\r\na b: 1\r\n\r\n", "x")
	testserver.Eventually(t, "all are dead letters", func() bool { return b.deadLetters(contract.ReasonMalformed) == 3 })
}

// publishRaw publishes a message as another client than nats.go might.
func publishRaw(t *testing.T, addr, subject, headers, body string) {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close() //nolint:errcheck // the server has answered
	_, err = fmt.Fprintf(c, "CONNECT {\"headers\":true,\"verbose\":false}\r\nHPUB %s %d %d\r\n%s%s\r\nPING\r\n",
		subject, len(headers), len(headers)+len(body), headers, body)
	if err != nil {
		t.Fatal(err)
	}
	for lines := bufio.NewScanner(c); lines.Scan(); {
		if lines.Text() == "PONG" {
			return
		}
	}
	t.Fatal("the server did not answer")
}
