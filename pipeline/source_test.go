package pipeline

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"arrakis/loadtest/testserver"
	"arrakis/pipeline/contract"
)

// TestAgeIsByTheServersClock: a process whose clock is wrong by minutes, either way, takes a message for as old as
// JetStream does.
func TestAgeIsByTheServersClock(t *testing.T) {
	const age, roundTrip = 10 * time.Second, 50 * time.Millisecond
	for _, wrong := range []time.Duration{0, 20 * time.Minute, -20 * time.Minute} {
		server := time.Now().Add(-wrong)
		s := newRouteSource(nil, contract.KindCommand.Route(), discard)
		s.learn(&jetstream.ConsumerInfo{TimeStamp: server}, time.Now().Add(-roundTrip/2))
		got := s.age(server.Add(-age), time.Now())
		if off := (got - age).Abs(); off > 5*time.Second {
			t.Errorf("a clock that is wrong by %v: the message is %v old, want about %v", wrong, got, age)
		}
	}
}

// TestGatheredFitsWhatMayBeOutstanding: a source never waits for more messages than a consumer with few outstanding can
// deliver.
func TestGatheredFitsWhatMayBeOutstanding(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.ensure()
	for _, tt := range []struct {
		most int
		want int64
	}{{-1, gatherMax}, {100_000, gatherMax}, {10_000, gatherMax}, {1_000, 50}, {100, 5}, {1, 0}} {
		cfg := jetstream.ConsumerConfig{Durable: contract.ConsumerCommand, AckPolicy: jetstream.AckExplicitPolicy, MaxAckPending: tt.most, FilterSubject: "commands.>"}
		if err := b.js.DeleteConsumer(t.Context(), contract.StreamCommands, contract.ConsumerCommand); err != nil {
			t.Fatal(err)
		}
		if _, err := b.js.CreateConsumer(t.Context(), contract.StreamCommands, cfg); err != nil {
			t.Fatal(err)
		}
		s := newRouteSource(b.js, contract.KindCommand.Route(), discard)
		if _, err := s.lookUp(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := s.gathered.Load(); got != tt.want {
			t.Errorf("%d may be outstanding: gathers %d, want %d", tt.most, got, tt.want)
		}
	}
}

// TestLostPullRequest: the NATS library believes that it has requested messages, and JetStream knows of no request.
func TestLostPullRequest(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.ensure()
	s := newRouteSource(b.js, contract.KindCommand.Route(), discard)
	ended := make(chan error, 1)
	ctx, stop := context.WithCancel(t.Context())
	var pulls sync.WaitGroup
	pulls.Go(func() { ended <- s.pull(ctx, ctx) })
	t.Cleanup(func() { stop(); pulls.Wait() })
	testserver.Eventually(t, "it has requested a batch", func() bool { return s.requested(t.Context()) })
	b.server.LoseMessages("$JS.API.CONSUMER.MSG.NEXT." + contract.StreamCommands + "." + contract.ConsumerCommand)
	for i := range pullBatch {
		b.send("commands.interaction", command("c", "ping", fmt.Sprint("e", i)))
	}
	for came, batch := 0, []arrival(nil); came < pullBatch; came += len(batch) {
		batch, _ = s.messages.Take(batch)
	}
	select {
	case err := <-ended:
		if !errors.Is(err, errPullAgain) {
			t.Errorf("pull ended with: %v", err)
		}
	case <-time.After(testserver.Patience):
		t.Error("it waits for messages that nobody has requested")
	}
}
