package main

import (
	"context"
	"fmt"
	"time"

	"arrakis/loadtest/program"
	"arrakis/loadtest/testserver/fakediscord"
)

// floodResult is what the flood has shown. Its JSON is what --json prints.
type floodResult struct {
	Sent      int               `json:"sent"`
	Dropped   int               `json:"dropped_starts"`
	Took      time.Duration     `json:"took_ns"`
	Answered  int               `json:"answered"`
	Refusals  int               `json:"refused_with_time"` // ephemeral, with the time to try again
	RESTCalls int               `json:"rest_calls"`
	All       program.Latencies `json:"first_answer"`
	Examples  []string          `json:"examples,omitempty"` // of what was neither
}

// runFlood sends many interactions of one free guild, within its window.
func runFlood(ctx context.Context, o options, dir string) (_ *floodResult, err error) {
	s, err := startSite(ctx, o, dir)
	defer func() {
		if closed := s.close(); err == nil {
			err = closed
		}
	}()
	if err != nil {
		return nil, err
	}
	if err := s.warm(ctx); err != nil {
		return nil, fmt.Errorf("before the flood: %w", err)
	}
	one := fakediscord.Slash(quickCommand).In(guild(charged+open), guild(charged+open))
	interactions, err := s.prepare(ctx, o.rate, o.flood, func() (fakediscord.Interaction, class) { return one, over })
	if err != nil {
		return nil, err
	}
	before, began, flood := s.discord.Totals().Calls(), time.Now(), &sender{site: s}
	err = pace(ctx, interactions, func(p prepared) { flood.send(ctx, p) })
	flood.open.Wait()
	if err != nil {
		return nil, err
	}
	counted := &loadResult{}
	counted.count(s.ledger)
	return &floodResult{
		Sent: int(flood.sent.Load()), Dropped: int(flood.dropped.Load()), Took: time.Since(began),
		Answered: counted.Endings[endingNames[inline]], Refusals: counted.Endings[endingNames[refused]],
		RESTCalls: s.discord.Totals().Calls() - before, All: counted.All, Examples: counted.Examples,
	}, nil
}
