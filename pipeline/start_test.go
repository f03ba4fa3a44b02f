package pipeline

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"arrakis/loadtest/testserver"
	"arrakis/pipeline/contract"
	"arrakis/pipeline/streams"
)

// A worker starts while a stream or one consumer is on a node that is gone, and another consumer is missing: it makes
// the missing one and handles all that it can.
func TestStartWithoutANode(t *testing.T) {
	t.Parallel()
	want := streams.Options{Replicas: 3}
	for _, tt := range []struct {
		gone   string
		config jetstream.StreamConfig
	}{
		{"look at stream EVENTS", jetstream.StreamConfig{Replicas: 1}},
		{"look at consumer EVENTS/event-worker", jetstream.StreamConfig{Replicas: 3}},
	} {
		t.Run(tt.gone, func(t *testing.T) {
			t.Parallel()
			nodes := testserver.NATSCluster(t, 3)
			js := testserver.JetStream(t, nodes[0].Connect(t, nats.MaxReconnects(-1)))
			tt.config.Name, tt.config.Subjects = contract.StreamEvents, []string{"events.>"}
			testserver.Succeeds(t, "the streams are made", func() error {
				_, err := js.CreateStream(t.Context(), tt.config)
				return errors.Join(err, streams.Ensure(t.Context(), js, nil, want, discard))
			})
			only := onOneNode(t, js, contract.StreamEvents, contract.ConsumerEvent)
			if err := js.DeleteConsumer(t.Context(), contract.StreamCommands, contract.ConsumerCommand); err != nil {
				t.Fatal(err)
			}
			nodes[only].Stop()

			b := setupOn(t, nodes[(only+1)%len(nodes)].Connect(t, nats.MaxReconnects(-1)))
			b.handlers.Command("ping", func(context.Context, *Message) (any, error) { return "pong", nil })
			b.handlers.Event("guild.join", func(context.Context, *Message) (any, error) { return "joined", nil })
			b.options = func(o *Options) { o.Streams = want }
			p, _ := b.run()
			unready(t, p, "consumer event-worker of EVENTS: not pulling", tt.gone)
			testserver.Succeeds(t, "the consumer of commands is made", func() error {
				_, err := b.js.Consumer(t.Context(), contract.StreamCommands, contract.ConsumerCommand)
				return err
			})
			if o := b.outcome(b.publish("commands.interaction", command("c1", "ping", "e1"))); o.Status != contract.StatusOK {
				t.Errorf("a command: %+v", o)
			}
			unready(t, p, "consumer event-worker of EVENTS: not pulling", tt.gone)
			nodes[only].Start()
			testserver.Succeeds(t, "the worker is ready", p.Ready)
			if o := b.outcome(b.publish("events.guild.join", testserver.Fixtures(t, "good")["guild-join.json"])); o.Status != contract.StatusOK {
				t.Errorf("an event: %+v", o)
			}
		})
	}
}

// onOneNode makes a consumer again without replicas, and returns the number of the node that has it.
func onOneNode(t *testing.T, js jetstream.JetStream, stream, consumer string) (node int) {
	t.Helper()
	c, err := js.Consumer(t.Context(), stream, consumer)
	if err != nil {
		t.Fatal(err)
	}
	config := c.CachedInfo().Config
	config.Replicas = 1
	if err := js.DeleteConsumer(t.Context(), stream, consumer); err != nil {
		t.Fatal(err)
	}
	if _, err := js.CreateConsumer(t.Context(), stream, config); err != nil {
		t.Fatal(err)
	}
	testserver.Succeeds(t, "the consumer has a leader", func() error {
		c, err := js.Consumer(t.Context(), stream, consumer)
		if err != nil {
			return err
		}
		_, err = fmt.Sscanf(c.CachedInfo().Cluster.Leader, "node%d", &node)
		return err
	})
	return node
}

// Without JetStream there is nothing to do: the start waits, and says why in one line.
func TestStartWaitsForJetStream(t *testing.T) {
	t.Parallel()
	b := setup(t)
	log := b.logTo()
	b.server.DisableJetStream()
	p, _ := b.run()
	unready(t, p, "streams cannot be created or checked: no consumer can be used: look at stream COMMANDS")
	if text := p.Ready().Error(); strings.Contains(text, "look at stream EVENTS") {
		t.Errorf("the same is said for each stream: %s", text)
	}
	first := lastTry(p)
	testserver.Eventually(t, "it is tried again", func() bool { return lastTry(p).After(first) })
	if n := log.Count("not pulling: trying again"); n > 0 {
		t.Errorf("%d sources have started", n)
	}
	b.server.Stop()
	b.server.Start()
	testserver.Succeeds(t, "the worker is ready", p.Ready)
}

// lastTry returns when the last try to make the streams has ended.
func lastTry(p *Pipeline) time.Time {
	p.ensurer.mu.Lock()
	defer p.ensurer.mu.Unlock()
	return p.ensurer.last
}
