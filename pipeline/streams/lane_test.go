package streams_test

import (
	"errors"
	"log/slog"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"

	"arrakis/loadtest/testserver"
	"arrakis/pipeline/contract"
	"arrakis/pipeline/streams"
)

func TestEnsureLane(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	if err := streams.EnsureLane(t.Context(), w.js, 3, streams.Options{}); !errors.Is(err, jetstream.ErrStreamNotFound) {
		t.Errorf("without OVERFLOW: %v", err)
	}
	w.ensure()
	var g errgroup.Group
	for i := range 4 { // an operator's settings, or those of an earlier version, stay
		g.Go(func() error {
			return streams.EnsureLane(t.Context(), w.js, 3, streams.Options{MaxAckPending: 7 + i})
		})
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	c, err := w.js.Consumer(t.Context(), contract.StreamOverflow, "lane-03")
	if err != nil {
		t.Fatal(err)
	}
	got := c.CachedInfo().Config
	if got.FilterSubject != "overflow.*.*.03" || got.MaxDeliver != -1 || got.MaxAckPending < 7 || got.MaxAckPending > 10 {
		t.Errorf("%+v", got)
	}
}

// A community may have so many messages in a lane: then its further messages are refused, and those of others are not.
func TestLaneIsBounded(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.stream(contract.StreamOverflow, func(c *jetstream.StreamConfig) {
		c.Retention, c.Discard = jetstream.WorkQueuePolicy, jetstream.DiscardNew
		c.MaxMsgsPerSubject, c.DiscardNewPerSubject = 2, true
	})
	full := contract.LaneSubject(contract.KindCommand, "full", 3)
	w.publish(full, 2)
	if _, err := w.js.Publish(t.Context(), full, nil); !streams.Full(err) {
		t.Errorf("a full lane: %v", err)
	}
	w.publish(contract.LaneSubject(contract.KindCommand, "other", 3), 1)

	fresh := testserver.JetStream(t, testserver.NATS(t).Connect(t))
	if err := streams.Ensure(t.Context(), fresh, nil, streams.Options{}, slog.New(slog.DiscardHandler)); err != nil {
		t.Fatal(err)
	}
	s, err := fresh.Stream(t.Context(), contract.StreamOverflow)
	if err != nil {
		t.Fatal(err)
	}
	if c := s.CachedInfo().Config; c.MaxMsgsPerSubject != 500_000 || !c.DiscardNewPerSubject || c.Discard != jetstream.DiscardNew {
		t.Errorf("%+v", c)
	}
}

// What a lane drops by age is counted, as for other streams. What no consumer reads yet stays: it makes no dead letters.
func TestLaneDropsAreCounted(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.stream(contract.StreamOverflow, func(c *jetstream.StreamConfig) {
		c.Retention, c.Discard, c.MaxAge = jetstream.WorkQueuePolicy, jetstream.DiscardNew, time.Hour
		c.MaxMsgsPerSubject, c.DiscardNewPerSubject = 100, true
	})
	w.keep()
	lane := contract.LaneSubject(contract.KindCommand, "big", 3)
	w.publish(lane, 1)
	if err := streams.EnsureLane(t.Context(), w.js, 3, streams.Options{}); err != nil {
		t.Fatal(err)
	}
	w.publish(lane, 50)
	w.take(contract.StreamOverflow, contract.LaneConsumer(3), 11, true)
	s, err := w.js.Stream(t.Context(), contract.StreamOverflow)
	if err != nil {
		t.Fatal(err)
	}
	c := s.CachedInfo().Config
	c.MaxAge, c.Duplicates = time.Second, time.Second
	if _, err := w.js.UpdateStream(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	testserver.Eventually(t, "the drops are counted", func() bool { return w.dropped(contract.StreamOverflow) == 40 })
	select {
	case subject := <-w.letters:
		t.Errorf("a message of %s has become a dead letter", subject)
	default:
	}
}

// The status of OVERFLOW names the lanes that cannot be read, and no others.
func TestLookAtLanes(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.ensure()
	if err := streams.EnsureLane(t.Context(), w.js, 3, streams.Options{}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.js.CreatePushConsumer(t.Context(), contract.StreamOverflow, jetstream.ConsumerConfig{
		Durable: contract.LaneConsumer(7), FilterSubject: contract.LaneFilter(7), AckPolicy: jetstream.AckExplicitPolicy, DeliverSubject: "somewhere",
	}); err != nil {
		t.Fatal(err)
	}
	all, err := streams.Look(t.Context(), w.js, w.records, streams.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range all {
		for _, c := range s.Consumers {
			if lane := c.Consumer == "lane-07"; lane != (c.Fault != "") || c.Consumer == "lane-03" {
				t.Errorf("%s: %+v", s.Stream, c)
			}
		}
		if s.Stream == contract.StreamOverflow && len(s.Consumers) != 2 {
			t.Errorf("%+v", s.Consumers)
		}
	}
}
