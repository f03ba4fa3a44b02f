package main

import (
	"context"
	"fmt"
	"math"
	"path/filepath"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"arrakis/loadtest/bench/contender"
	"arrakis/loadtest/bench/report"
	"arrakis/loadtest/bench/workload"
)

// pipelineContenders empty a stream.
var pipelineContenders = []contender.Name{
	contender.Bare, contender.Arrakis, contender.Watermill, contender.Textbook,
}

func (b *bench) pipelineOnMemory(ctx context.Context) error {
	return b.pipeline(ctx, "memory", "Pipeline at saturation, stream in memory",
		pipelineRun{mix: workload.Tiers, storage: jetstream.MemoryStorage})
}

func (b *bench) pipelineOnFile(ctx context.Context) error {
	return b.pipeline(ctx, "file", "Pipeline at saturation, stream on file",
		pipelineRun{mix: workload.Tiers, storage: jetstream.FileStorage})
}

func (b *bench) pipelineAdmitted(ctx context.Context) error {
	return b.pipeline(ctx, "admitted", "Pipeline with every message admitted and charged, stream in memory",
		pipelineRun{mix: workload.Admitted, storage: jetstream.MemoryStorage})
}

// pipeline compares the contenders on one stream.
func (b *bench) pipeline(ctx context.Context, name, title string, r pipelineRun) error {
	r.communities, r.warm = workload.Communities, fillWindows
	sizes, err := b.calibrate(ctx, name, r)
	if err != nil {
		return err
	}
	if r.mix == workload.Admitted {
		r.warm = 1 // its windows are not to fill
		sizes[contender.Bare], sizes[contender.Arrakis] = b.admitted, b.admitted
	}
	all, err := b.inTurn(name, "msg/s", pipelineContenders, func(c contender.Name, round int) (measurement, error) {
		r := r
		r.contender, r.messages = c, sizes[c]
		if c == contender.Arrakis {
			r.profile = b.profileFile(name, round)
		}
		return b.servers.run(ctx, r)
	})
	if err != nil {
		return err
	}
	b.showPipeline(name, title, all)
	b.pipelineTargets(name, r.mix, all)
	return nil
}

// profileFile is where a CPU profile of a run goes, "" if none is wanted.
func (b *bench) profileFile(section string, round int) string {
	if b.profile == "" {
		return ""
	}
	return filepath.Join(b.profile, fmt.Sprintf("%s-%d.pprof", strings.ReplaceAll(section, " ", "-"), round+1))
}

const (
	// trial is how many messages a contender gets to show how fast it is; slowTrial is for those that are known to be
	// slow.
	trial, slowTrial = 50_000, 10_000
	// mostMessages bounds a run.
	mostMessages = 2_000_000
)

// calibrate lets every contender run once for a short time, which also warms the servers up, and returns how many
// messages keep it busy for b.run.
func (b *bench) calibrate(ctx context.Context, name string, r pipelineRun) (map[contender.Name]int, error) {
	b.say("%s: warming up", name)
	sizes := map[contender.Name]int{}
	for _, c := range pipelineContenders {
		r := r
		r.contender, r.messages, r.warm = c, trial, 0
		if c == contender.Watermill || c == contender.Textbook {
			r.messages = slowTrial
		}
		m, err := b.servers.run(ctx, r)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", c, err)
		}
		sizes[c] = messagesFor(m.rate, b.run)
	}
	return sizes, nil
}

// messagesFor is how many messages take so long, in thousands.
func messagesFor(rate float64, d time.Duration) int {
	n := int(math.Round(rate*d.Seconds()/1_000)) * 1_000
	return min(max(n, 1_000), mostMessages)
}

func (b *bench) showPipeline(name, title string, all measurements) {
	t := &report.Table{
		Title:   title,
		Columns: []string{"contender", "msg/s", "min .. max", "CPU s/M", "Redis/1k", "warm", "Redis B/msg", "MiB", "over"},
		Notes: []string{"CPU s/M: CPU seconds of the contender for a million messages. Redis/1k: commands sent to Redis for " +
			"a thousand messages; warm: in the second half of the run. Redis B/msg: bytes to and from Redis for a message. " +
			"MiB: memory from the system. over: admissions above the limits of all communities, the worst run."},
	}
	var bars []report.Bar
	for _, c := range pipelineContenders {
		rates := all.of(c, rate)
		t.Add(string(c), report.Count(rates.Median()), rates.Spread(report.Count),
			report.Decimal(all.of(c, cpu).Median()), report.Decimal(all.of(c, commands).Median()),
			report.Decimal(all.of(c, warm).Median()), report.Decimal(all.of(c, transfer).Median()),
			report.Count(all.of(c, memory).Median()), report.Count(all.of(c, over).Max()))
		bars = append(bars, report.Bar{Name: string(c), Values: rates})
	}
	b.table(t, "pipeline-"+name+".svg", "messages per second", bars)
}

func (b *bench) pipelineTargets(name string, mix workload.Mix, all measurements) {
	ours := all.of(contender.Arrakis, rate)
	textbook := report.Target{
		Name: name + ": of the textbook worker's rate", Got: ours.Over(all.of(contender.Textbook, rate)), Least: 4.5, Unit: "x",
	}
	if mix == workload.Admitted {
		textbook.Least = 3
		b.target(textbook)
	} else {
		b.target(report.Target{
			Name: name + ": of the bare loop's rate", Got: ours.Over(all.of(contender.Bare, rate)), Least: 0.9, Unit: "x",
		})
		b.target(textbook)
		b.target(report.Target{
			Name: name + ": Redis commands per 1,000, warm", Got: all.of(contender.Arrakis, warm), Most: 1,
		})
	}
	b.target(report.Target{
		Name: name + ": admissions above limits", Got: report.Series{all.of(contender.Arrakis, over).Max()}, Zero: true,
	})
}
