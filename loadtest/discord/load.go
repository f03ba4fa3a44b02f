package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"arrakis/loadtest/program"
	"arrakis/loadtest/testserver/fakediscord"
)

// maxInFlight is how many interactions wait for the answer to their request at most. What would be more is not started,
// and counted.
const maxInFlight = 20_000

// sender sends interactions. Its methods are safe for concurrent use, but for wait.
type sender struct {
	site     *site
	inFlight atomic.Int64
	sent     atomic.Int64
	dropped  atomic.Int64
	open     sync.WaitGroup
}

// send sends an interaction that is due, without waiting for the answer.
func (s *sender) send(ctx context.Context, p prepared) {
	if s.inFlight.Add(1) > maxInFlight {
		s.inFlight.Add(-1)
		s.dropped.Add(1)
		return
	}
	s.sent.Add(1)
	s.open.Go(func() {
		defer s.inFlight.Add(-1)
		s.site.ledger.add(p.ID, p.class)
		sent, err := s.site.discord.Deliver(ctx, endpoint, p.Issued)
		s.site.ledger.delivered(sent, err, time.Since(p.due))
	})
}

// runLoad sends the load while workers are killed, and follows it to its end.
func runLoad(ctx context.Context, o options, dir string, p *program.Progress) (_ *loadResult, err error) {
	s, err := startSite(ctx, o, dir)
	defer func() {
		if closed := s.close(); err == nil {
			err = closed
		}
	}()
	if err != nil {
		return nil, err
	}
	if err := s.probe(ctx); err != nil {
		return nil, fmt.Errorf("what Discord asks before it takes an endpoint: %w", err)
	}
	if err := s.warm(ctx); err != nil {
		return nil, fmt.Errorf("before the load: %w", err)
	}
	rnd := rand.New(rand.NewPCG(1, 1)) //nolint:gosec // a load, not a secret
	interactions, err := s.prepare(ctx, o.rate, o.total(), func() (fakediscord.Interaction, class) { return draw(rnd, o.slow) })
	if err != nil {
		return nil, err
	}
	before := s.discord.Totals()
	began, load := time.Now(), &sender{site: s}
	status := func() string {
		t := s.discord.Totals()
		return fmt.Sprintf("%d of %d interactions sent, %d open, %d deferred, %d calls of the API", load.sent.Load(), o.total(), t.Open, t.Deferred, t.Calls())
	}
	watching, stop := context.WithCancel(ctx)
	var watcher errgroup.Group
	watcher.Go(func() error { p.Report(watching, status); return nil })
	res := &loadResult{}
	striking, stopStriking := context.WithCancel(ctx)
	var striker errgroup.Group
	striker.Go(func() error { return s.strike(striking, o.kill, &res.Kills) })
	err = pace(ctx, interactions, func(p prepared) { load.send(ctx, p) })
	res.Took = time.Since(began)
	stopStriking()
	if struck := striker.Wait(); err == nil {
		err = struck
	}
	load.open.Wait()
	if err == nil {
		res.Waited, err = s.settle(ctx, o.wait)
	}
	stop()
	_ = watcher.Wait() // returns nil only
	if err != nil {
		return nil, err
	}
	res.Sent, res.Dropped = int(load.sent.Load()), int(load.dropped.Load())
	return res, s.judge(ctx, res, before)
}

// warm sends an interaction of each guild that is not above its limit, which is not counted: it opens connections.
func (s *site) warm(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(50)
	for i := range charged + open {
		g.Go(func() error {
			_, err := s.discord.Send(ctx, endpoint, fakediscord.Slash(quickCommand).In(guild(i), guild(i)))
			return err
		})
	}
	return g.Wait()
}

// strike kills the workers in turn, one after each pause, until ctx ends. A worker is killed only while all others are
// ready.
func (s *site) strike(ctx context.Context, every time.Duration, kills *int) error {
	if every == 0 {
		return nil
	}
	for i := 0; program.Pause(ctx, every) == nil; i++ {
		victim := s.workers[i%len(s.workers)]
		if err := program.Poll(ctx, func() error { return s.ready(ctx, victim) }); err != nil {
			return nil //nolint:nilerr // ctx has ended
		}
		victim.Kill()
		*kills++
	}
	return nil
}

// settle waits until every interaction has ended, or it has waited for that long. It returns how long that took.
func (s *site) settle(ctx context.Context, most time.Duration) (time.Duration, error) {
	began := time.Now()
	bounded, cancel := context.WithTimeout(ctx, most)
	defer cancel()
	_ = program.Poll(bounded, func() error { // what is open in the end is counted
		if n := s.discord.Totals().Open; n > 0 {
			return fmt.Errorf("%d are open", n)
		}
		return nil
	})
	return time.Since(began), ctx.Err()
}
