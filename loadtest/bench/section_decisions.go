package main

import (
	"context"
	"time"

	"golang.org/x/sync/errgroup"

	"arrakis/loadtest/bench/contender"
	"arrakis/loadtest/bench/report"
	"arrakis/loadtest/bench/workload"
)

// deciders only decide. Two processes of each share the limits, as in production, where a limit that is not shared is
// no limit.
var deciders = []contender.Name{
	contender.Limiter, contender.LimiterSingle, contender.RedisRate, contender.Gubernator, contender.GoLimiter,
}

const (
	decidingProcesses = 2
	// trialDecisions are for showing how fast a limiter is.
	trialDecisions = 5_000
	// mostDecisions bounds those of one process, whose questions are all in memory.
	mostDecisions = 1_000_000
)

func (b *bench) decisions(ctx context.Context) error {
	for _, mix := range []struct {
		workload.Mix
		name, title string
		most        int // decisions of one process
	}{
		{workload.Tiers, "refused", "Decisions alone, almost all refused", mostDecisions},
		// 100 communities with 10,000 a minute admit a million; stay well below.
		{workload.Admitted, "charged", "Decisions alone, all admitted and charged", 200_000},
	} {
		sizes := map[contender.Name]int{}
		for _, c := range deciders {
			sizes[c] = trialDecisions
			for range 2 { // the first few thousand fill the windows, and are slower than the rest
				m, err := b.decide(ctx, c, mix.Mix, sizes[c])
				if err != nil {
					return err
				}
				sizes[c] = min(messagesFor(m.rate/decidingProcesses, b.run/2), mix.most)
			}
		}
		all, err := b.inTurn("decisions "+mix.name, "decisions/s", deciders, func(c contender.Name, _ int) (measurement, error) {
			return b.decide(ctx, c, mix.Mix, sizes[c])
		})
		if err != nil {
			return err
		}
		b.showDecisions(mix.name, mix.title, all)
	}
	return nil
}

// decide lets two processes make n decisions each, at the same time.
func (b *bench) decide(ctx context.Context, c contender.Name, mix workload.Mix, n int) (m measurement, err error) {
	if err := b.servers.rdb.FlushAll(ctx).Err(); err != nil {
		return m, err
	}
	children := make([]*child, 0, decidingProcesses)
	defer func() {
		for _, c := range children {
			c.kill()
		}
	}()
	for range decidingProcesses {
		child, err := startChild(ctx, contender.Spec{
			Contender: c, Redis: b.servers.redisAddr, Mix: mix, Communities: workload.Communities,
			Decisions: n, Seed: b.servers.nextRun(),
		})
		if err != nil {
			return m, err
		}
		children = append(children, child)
	}
	before, err := askAll(children, contender.Start)
	if err != nil {
		return m, err
	}
	took := make([]time.Duration, len(children))
	var g errgroup.Group
	for i, c := range children {
		g.Go(func() error {
			u, err := c.ask(contender.Decide)
			took[i] = u.Took
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return m, err
	}
	after, err := askAll(children, contender.Mark)
	if err != nil {
		return m, err
	}
	total := float64(n * len(children))
	for _, t := range took {
		m.rate += float64(n) / t.Seconds()
	}
	m.cpu = (after.CPU - before.CPU).Seconds() / total * 1e6
	m.commands = float64(after.RedisCommands-before.RedisCommands) / total * 1e3
	return m, stopWorkers(children, mix, &m)
}

func (b *bench) showDecisions(name, title string, all measurements) {
	t := &report.Table{
		Title:   title + ", two processes",
		Columns: []string{"limiter", "decisions/s", "min .. max", "CPU s/M", "Redis/1k", "over"},
		Notes: []string{"limiter is arrakis's in batches, as its shards ask it; limiter-single is the same with one message a " +
			"call. go-limiter is in memory, each process for itself, so that two admit twice the limit. redis_rate " +
			"(GCRA) refills while the window runs. gubernator (token bucket, in batches) is in memory: its two processes are " +
			"peers, and each key belongs to one of them. over: admissions above the limits of all communities, the worst run."},
	}
	var bars []report.Bar
	for _, c := range deciders {
		rates := all.of(c, rate)
		t.Add(string(c), report.Count(rates.Median()), rates.Spread(report.Count), report.Decimal(all.of(c, cpu).Median()),
			report.Decimal(all.of(c, commands).Median()), report.Count(all.of(c, over).Max()))
		bars = append(bars, report.Bar{Name: string(c), Values: rates})
	}
	b.table(t, "decisions-"+name+".svg", "decisions per second", bars)
	b.target(report.Target{
		Name: "decisions " + name + ": admissions above limits",
		Got:  report.Series{max(all.of(contender.Limiter, over).Max(), all.of(contender.LimiterSingle, over).Max())}, Zero: true,
	})
}
