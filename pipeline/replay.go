package pipeline

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

// A replayed message names the dead letter that it was replayed from. Its end, in its stream, is the end of the replay.

const replayNotEnded = "if this dead letter is still there, replaying it again stores its message again"

// endReplay deletes the dead letter that d was replayed from, if an interrupted replay has left it. This comes before d
// is settled: while d is in its stream, a repeated replay finds it there, and after that it finds no dead letter.
func (s *metricsStage) endReplay(work context.Context, d *delivery) {
	replay := d.replayToEnd()
	if replay == "" {
		return
	}
	if err := s.store.EndReplay(context.WithoutCancel(work), replay, d.Body); err != nil {
		s.log.WarnContext(work, replayNotEnded, "event_id", d.EventID, "replay", replay, "trace_id", d.traceID(), "err", err)
	}
}

const (
	// endMovedTime is how long after it was received a moved message may wait for DEADLETTER: so it does not come again
	// meanwhile. It is less than the shortest ack wait that arrakis sets. Where an operator has set a shorter one, the
	// message does come again.
	endMovedTime = 10 * time.Second
	// endMovedAtOnce is how many of them ask it at the same time.
	endMovedAtOnce = 64
	// endMovedAgain is how long one waits whose replay could not be ended, or up to twice as long.
	endMovedAgain = 2 * time.Second
	// endMovedDeliveries is at which delivery one is acknowledged all the same: before JetStream forgets, after two
	// minutes, that the message is in the lane, and stores it there twice.
	endMovedDeliveries = 4
)

// endMoved ends replayed messages that are in their lanes by now, until no more come. After an incident thousands are
// replayed at once, and a lane takes them all within a second, so they have a queue of their own. It needs no bound:
// what is in it is bounded where it comes from, at the sources.
//
// A message whose replay could not be ended comes again soon, and is known in the lane: while it is in its stream, a
// repeated replay finds it there. Should the community have left the lane by then, it is handled twice, as any redelivered
// message may be.
func (s *metricsStage) endMoved(work context.Context) {
	var batch []*delivery
	for {
		var ok bool
		if batch, ok = s.moved.Take(batch); !ok {
			return
		}
		s.endReplays(work, batch)
		for _, d := range batch {
			s.settle(work, d)
		}
	}
}

// endReplays is endReplay for many, in their order. It sets the dispositions of those whose replays it cannot end.
func (s *metricsStage) endReplays(work context.Context, batch []*delivery) {
	var mu sync.Mutex // protects the variables below
	failed, err := 0, error(nil)
	var g errgroup.Group
	g.SetLimit(endMovedAtOnce)
	for _, d := range batch {
		g.Go(func() error {
			limited, cancel := context.WithDeadline(work, d.received.Add(endMovedTime))
			defer cancel()
			e := limited.Err() // its time may have passed while others were asked for
			if e == nil {
				e = s.store.EndReplay(limited, d.replayToEnd(), d.Body)
			}
			if e == nil {
				return nil
			}
			switch {
			case work.Err() != nil:
				d.disposition = aborted()
			case d.delivered < endMovedDeliveries:
				d.disposition = disposition{settlement: nak, delay: endMovedAgain + rand.N(endMovedAgain)} //nolint:gosec // jitter
			}
			mu.Lock()
			defer mu.Unlock()
			failed, err = failed+1, e
			return nil
		})
	}
	_ = g.Wait() // returns nil only
	if failed > 0 && work.Err() == nil {
		s.log.WarnContext(work, replayNotEnded, "messages", failed, "err", err)
	}
}
