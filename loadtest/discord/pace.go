package main

import (
	"context"
	"runtime"
	"time"

	"golang.org/x/sync/errgroup"

	"arrakis/loadtest/program"
	"arrakis/loadtest/testserver/fakediscord"
)

// prepared is an interaction that is made and signed for the time when it is due.
type prepared struct {
	fakediscord.Issued
	class class
	due   time.Time
}

// prepareTime is how long an interaction takes to be made and signed, more than enough.
const prepareTime = 200 * time.Microsecond

// prepare makes and signs interactions, as draw says, that are due at a rate a second, and returns when the first is due.
// What Discord does is not what this machine is to be measured by.
func (s *site) prepare(
	ctx context.Context, rate, total int, draw func() (fakediscord.Interaction, class),
) ([]prepared, error) {
	all, drawn := make([]prepared, total), make([]fakediscord.Interaction, total)
	for n := range all {
		drawn[n], all[n].class = draw()
	}
	for lead := time.Second + time.Duration(total)*prepareTime; ; lead *= 2 {
		first := time.Now().Add(lead)
		var g errgroup.Group
		for part := range runtime.GOMAXPROCS(0) {
			g.Go(func() error {
				for n := part; n < total && ctx.Err() == nil; n += runtime.GOMAXPROCS(0) {
					all[n].due = first.Add(time.Duration(n) * time.Second / time.Duration(rate))
					drawn[n].Created = all[n].due
					all[n].Issued = s.discord.Prepare(drawn[n])
				}
				return context.Cause(ctx)
			})
		}
		if err := g.Wait(); err != nil {
			return nil, err
		}
		if early := time.Until(first); early > 0 {
			return all, program.Pause(ctx, early)
		}
	}
}

// pace calls start for each of the interactions when it is due, whatever start leads to. One that is late is started at
// once. start must be quick. The error is the cause of ctx's end.
func pace(ctx context.Context, interactions []prepared, start func(prepared)) error {
	tick := time.NewTicker(2 * time.Millisecond) // more often would cost more than what is started
	defer tick.Stop()
	for n := 0; n < len(interactions); {
		for now := time.Now(); n < len(interactions) && !interactions[n].due.After(now); n++ {
			start(interactions[n])
			interactions[n].Body = nil // it is not needed twice
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-tick.C:
		}
	}
	return nil
}
