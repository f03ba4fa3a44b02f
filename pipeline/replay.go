package pipeline

import (
	"context"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

// A replayed message names the dead letter that it was replayed from. Its end, in its stream, is the end of the replay.

const replayNotEnded = "if this dead letter is still there, replaying it again stores its message again"

// endReplay deletes the dead letter that d was replayed from, if an interrupted replay has left it. This comes before d
// is settled: while d is in its stream, a repeated replay finds it there, and after that it finds no dead letter.
func (s *metricsStage) endReplay(work context.Context, d *delivery) {
	replay := d.replay()
	if replay == "" {
		return
	}
	if err := s.store.EndReplay(context.WithoutCancel(work), replay, d.Body); err != nil {
		s.log.WarnContext(work, replayNotEnded, "event_id", d.EventID, "replay", replay, "err", err)
	}
}

const (
	// endMovedTime bounds the time for which moved messages wait for DEADLETTER, so that they do not come again.
	endMovedTime = 10 * time.Second
	// endMovedAtOnce is how many of them ask it at the same time.
	endMovedAtOnce = 64
)

// endMoved ends replayed messages that are in their lanes by now, until no more come. After an incident thousands are
// replayed at once, and a lane takes them all within a second, so they have a queue of their own. It needs no bound:
// what is in it is bounded where it comes from, at the sources.
func (s *metricsStage) endMoved(work context.Context) {
	var batch []*delivery
	for {
		var ok bool
		if batch, ok = s.moved.Take(batch); !ok {
			return
		}
		s.endReplays(work, batch)
		for _, d := range batch {
			if work.Err() != nil {
				d.disposition = aborted() // it comes again, and is known in the lane
			}
			s.settle(work, d)
		}
	}
}

// endReplays is endReplay for many. It ends with work.
func (s *metricsStage) endReplays(work context.Context, batch []*delivery) {
	limited, cancel := context.WithTimeout(work, endMovedTime)
	defer cancel()
	var mu sync.Mutex // protects the variables below
	failed, err := 0, error(nil)
	var g errgroup.Group
	g.SetLimit(endMovedAtOnce)
	for _, d := range batch {
		g.Go(func() error {
			if e := s.store.EndReplay(limited, d.replay(), d.Body); e != nil {
				mu.Lock()
				defer mu.Unlock()
				failed, err = failed+1, e
			}
			return nil
		})
	}
	_ = g.Wait() // returns nil only
	if failed > 0 && work.Err() == nil {
		s.log.WarnContext(work, replayNotEnded, "messages", failed, "err", err)
	}
}
