package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	"arrakis/loadtest/bench/contender"
	"arrakis/loadtest/bench/report"
)

// bench is one benchmark. It is used by one goroutine.
type bench struct {
	options
	servers  *servers
	report   report.Report
	progress io.Writer
	began    time.Time
}

// section is one part of a benchmark.
type section struct {
	name string
	run  func(*bench, context.Context) error
}

// sections are all parts, in their order.
var sections = []section{
	{"memory", (*bench).pipelineOnMemory},
	{"file", (*bench).pipelineOnFile},
	{"admitted", (*bench).pipelineAdmitted},
	{"services", (*bench).services},
	{"decisions", (*bench).decisions},
	{"requests", (*bench).requests},
	{"scale", (*bench).scale},
	{"shards", (*bench).shardCounts},
	{"start", (*bench).start},
	{"processes", (*bench).processes},
	{"fairness", (*bench).fairness},
	{"console", (*bench).console},
}

func sectionNames() []string {
	names := make([]string, len(sections))
	for i, s := range sections {
		names[i] = s.name
	}
	return names
}

// benchmark runs the sections and writes the report.
func benchmark(ctx context.Context, o options, stdout, progress io.Writer) error {
	dir, err := os.MkdirTemp("", "arrakis-bench-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }() // the system clears what is left
	if o.profile != "" {
		if err := os.MkdirAll(o.profile, 0o755); err != nil { //nolint:gosec // to be read by all
			return err
		}
	}
	b := &bench{options: o, progress: progress, began: time.Now()}
	b.say("starting nats-server and redis-server")
	if b.servers, err = startServers(ctx, dir); err != nil {
		return err
	}
	defer b.servers.stop()
	if err := b.describe(ctx); err != nil {
		return err
	}
	failed := b.runSections(ctx)
	if ctx.Err() != nil {
		return failed
	}
	if err := b.report.Save(b.out); err != nil {
		return errors.Join(failed, err)
	}
	if err := b.report.WriteText(stdout); err != nil {
		return errors.Join(failed, err)
	}
	b.say("the report is in %s", b.out)
	return failed
}

// runSections runs what was asked for. A section that fails does not keep the others from being run and reported.
func (b *bench) runSections(ctx context.Context) error {
	var errs []error
	for _, s := range sections {
		if len(b.only) > 0 && !slices.Contains(b.only, s.name) {
			continue
		}
		err := s.run(b, ctx)
		if ctx.Err() != nil {
			return fmt.Errorf("stopped in section %s", s.name)
		}
		if err != nil {
			b.say("%s: %v", s.name, err)
			errs = append(errs, fmt.Errorf("section %s: %w", s.name, err))
		}
	}
	return errors.Join(errs...)
}

// describe notes where the benchmark runs.
func (b *bench) describe(ctx context.Context) error {
	m := report.Local(ctx, b.root)
	m.Line, m.Date, m.NATS = b.line, b.began.UTC().Format(time.RFC3339), b.servers.nc.ConnectedServerVersion()
	info, err := b.servers.rdb.InfoMap(ctx, "server").Result()
	if err != nil {
		return fmt.Errorf("read the version of redis-server: %w", err)
	}
	m.Redis = info["Server"]["redis_version"]
	b.report.Machine = m
	return nil
}

// say writes a line of progress, behind the time since the start.
func (b *bench) say(format string, args ...any) {
	_, _ = fmt.Fprintf(b.progress, "%6.1fs  %s\n", time.Since(b.began).Seconds(), fmt.Sprintf(format, args...))
}

// measurements are those of a section by contender, in the order of the runs.
type measurements map[contender.Name][]measurement

// of are one number of all runs of a contender.
func (m measurements) of(name contender.Name, number func(*measurement) float64) report.Series {
	series := make(report.Series, len(m[name]))
	for i := range m[name] {
		series[i] = number(&m[name][i])
	}
	return series
}

// rate, and the others below, are numbers of a measurement.
func rate(m *measurement) float64     { return m.rate }
func cpu(m *measurement) float64      { return m.cpu }
func commands(m *measurement) float64 { return m.commands }
func warm(m *measurement) float64     { return m.warm }
func transfer(m *measurement) float64 { return m.bytes }
func over(m *measurement) float64     { return float64(m.over) }
func memory(m *measurement) float64   { return m.memory / (1 << 20) }
func p50(m *measurement) float64      { return m.p50.Seconds() * 1e3 }
func p99(m *measurement) float64      { return m.p99.Seconds() * 1e3 }

// inTurn runs each contender once, and again, until each has had its runs: A B A B, so that what the machine does
// meanwhile falls on all of them.
func (b *bench) inTurn(
	what, unit string, names []contender.Name, run func(contender.Name, int) (measurement, error),
) (measurements, error) {
	all := measurements{}
	for round := range b.runs {
		for _, name := range names {
			m, err := run(name, round)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", name, err)
			}
			all[name] = append(all[name], m)
			b.say("%s, run %d of %d: %-14s %11s %s", what, round+1, b.runs, name, report.Count(m.rate), unit)
		}
	}
	return all, nil
}

// target adds a target.
func (b *bench) target(t report.Target) { b.report.Targets = append(b.report.Targets, t) }

// table adds a table, with a plot of the rates.
func (b *bench) table(t *report.Table, file, unit string, bars []report.Bar) {
	b.report.Tables = append(b.report.Tables, t)
	b.report.Plot(t, file, unit, bars)
}
