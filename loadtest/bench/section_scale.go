package main

import (
	"cmp"
	"context"
	"fmt"
	"strconv"

	"github.com/nats-io/nats.go/jetstream"

	"arrakis/loadtest/bench/contender"
	"arrakis/loadtest/bench/report"
	"arrakis/loadtest/bench/workload"
)

// fillWindows is how many messages of each community fill every window of the tiers mix, and show it to every one of
// four processes: what a worker meets in all but the first moments of a minute.
const fillWindows = 120

// variant is a contender in one of the ways that a section compares. Its name stands where other sections have
// contenders.
type variant struct {
	name contender.Name
	pipelineRun
}

// variants runs each way in turn, with arrakis unless it names another contender.
func (b *bench) variants(ctx context.Context, what string, ways []variant) (measurements, error) {
	runs := map[contender.Name]pipelineRun{}
	names := make([]contender.Name, len(ways))
	for i, w := range ways {
		w.contender, w.storage = cmp.Or(w.contender, contender.Arrakis), jetstream.MemoryStorage
		first := w.pipelineRun
		first.messages = trial
		m, err := b.servers.run(ctx, first)
		if err != nil {
			return nil, err
		}
		w.messages = messagesFor(m.rate, cmp.Or(w.takes, b.run))
		names[i], runs[w.name] = w.name, w.pipelineRun
	}
	return b.inTurn(what, "msg/s", names, func(name contender.Name, round int) (measurement, error) {
		r := runs[name]
		r.profile = b.profileFile(what+"-"+string(name), round)
		return b.servers.run(ctx, r)
	})
}

// scale compares few communities with many.
func (b *bench) scale(ctx context.Context) error {
	few := variant{"few", pipelineRun{mix: workload.Steady, communities: workload.Communities, warm: 1}}
	many := variant{"many", pipelineRun{mix: workload.Steady, communities: b.many, warm: 1}}
	all, err := b.variants(ctx, "scale", []variant{few, many})
	if err != nil {
		return err
	}
	heap := func(m *measurement) float64 { return m.heap }
	t := &report.Table{
		Title:   "arrakis by active communities, a tenth unlimited, the rest over their limits",
		Columns: []string{"communities", "msg/s", "min .. max", "CPU s/M", "warm Redis/1k", "heap MiB"},
		Notes: []string{"Every community has had one message before the clock starts. heap: in use at that moment, after a " +
			"garbage collection. All settings have their defaults."},
	}
	var bars []report.Bar
	for _, v := range []variant{few, many} {
		rates, n := all.of(v.name, rate), report.Count(float64(v.communities))
		t.Add(n, report.Count(rates.Median()), rates.Spread(report.Count), report.Decimal(all.of(v.name, cpu).Median()),
			report.Decimal(all.of(v.name, warm).Median()), report.Decimal(all.of(v.name, heap).Median()/(1<<20)))
		bars = append(bars, report.Bar{Name: n, Values: rates})
	}
	b.table(t, "scale.svg", "messages per second", bars)
	b.target(report.Target{
		Name: fmt.Sprintf("scale: rate at %s communities of that at 100", report.Count(float64(b.many))),
		Got:  all.of("many", rate).Over(all.of("few", rate)), Least: 0.85, Unit: "x",
	})
	var each report.Series
	for i, h := range all.of("many", heap) {
		each = append(each, (h-all.of("few", heap)[i])/float64(b.many-workload.Communities))
	}
	b.target(report.Target{Name: "scale: memory of an active community", Got: each, Most: 1024, Unit: " B"})
	return nil
}

// shardCounts compares numbers of shards.
func (b *bench) shardCounts(ctx context.Context) error {
	ways := make([]variant, 0, 4)
	for _, n := range []int{1, 16, 64, 256} {
		ways = append(ways, variant{
			contender.Name(strconv.Itoa(n)), pipelineRun{mix: workload.Admitted, communities: workload.Communities, warm: 1, shards: n},
		})
	}
	all, err := b.variants(ctx, "shards", ways)
	if err != nil {
		return err
	}
	b.showVariants(&report.Table{
		Title: "arrakis by shards, every message admitted and charged",
		Notes: []string{"Redis/1k: commands sent to Redis for a thousand messages. The default is 64."},
	}, "shards", ways, all)
	return nil
}

// processes compares numbers of processes on one stream.
func (b *bench) processes(ctx context.Context) error {
	ways := make([]variant, 0, 3)
	for _, n := range []int{1, 2, 4} {
		ways = append(ways, variant{contender.Name(strconv.Itoa(n)), pipelineRun{
			mix: workload.Tiers, communities: workload.Communities, warm: fillWindows, processes: n,
		}})
	}
	for _, n := range []int{1, 4} {
		ways = append(ways, variant{contender.Name(fmt.Sprintf("bare %d", n)), pipelineRun{
			contender: contender.Bare, mix: workload.Tiers, communities: workload.Communities, warm: fillWindows, processes: n,
		}})
	}
	all, err := b.variants(ctx, "processes", ways)
	if err != nil {
		return err
	}
	b.showVariants(&report.Table{
		Title: "arrakis by processes on one stream, at saturation",
		Notes: []string{"CPU s/M: CPU seconds of all processes for a million messages. Every window is full before the clock " +
			"starts. bare is the loop that only acknowledges: what more processes cost the client alone."},
	}, "processes", ways, all)
	b.target(report.Target{
		Name: "processes: CPU per message at 4 of that at 1", Got: all.of("4", cpu).Over(all.of("1", cpu)), Most: 1.1, Unit: "x",
	})
	b.target(report.Target{
		Name: "processes: admissions above limits", Got: report.Series{all.of("4", over).Max()}, Zero: true,
	})
	return nil
}

// showVariants shows what all ways were measured by.
func (b *bench) showVariants(t *report.Table, name string, ways []variant, all measurements) {
	t.Columns = []string{name, "msg/s", "min .. max", "CPU s/M", "Redis/1k", "MiB", "over"}
	var bars []report.Bar
	for _, w := range ways {
		rates := all.of(w.name, rate)
		t.Add(string(w.name), report.Count(rates.Median()), rates.Spread(report.Count),
			report.Decimal(all.of(w.name, cpu).Median()), report.Decimal(all.of(w.name, commands).Median()),
			report.Count(all.of(w.name, memory).Median()), report.Count(all.of(w.name, over).Max()))
		bars = append(bars, report.Bar{Name: string(w.name), Values: rates})
	}
	b.table(t, name+".svg", "messages per second", bars)
}
