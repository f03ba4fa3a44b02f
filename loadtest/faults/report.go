package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"runtime"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"arrakis/loadtest/faults/audit"
	"arrakis/loadtest/program"
)

// report is what the runs have shown, and where.
type report struct {
	o       options
	date    time.Time
	commit  string
	machine string
	runs    []*result
}

func newReport(ctx context.Context, o options) *report {
	return &report{o: o, date: time.Now(), commit: cmp.Or(program.Commit(ctx, o.root), "unknown"), machine: program.Machine(ctx)}
}

// save writes the report to its file.
func (r *report) save() error {
	name := fmt.Sprintf("faults-%d", r.o.nodes)
	if r.o.onRedisDown != "closed" {
		name += "-" + r.o.onRedisDown
	}
	return program.SaveReport(r.o.out, name+".md", r.write)
}

// write writes the report as Markdown, which is a table on a terminal too.
func (r *report) write(w io.Writer) error {
	servers := "one nats-server"
	if r.o.nodes > 1 {
		servers = fmt.Sprintf("%d nats-servers, %[1]d replicas of every stream", r.o.nodes)
	}
	p := &program.Printer{W: w}
	p.Line("# Fault runs: %s", servers)
	p.Line("")
	p.Line("`%s` at commit %s, %s.", r.o.line, r.commit, r.date.UTC().Format("2006-01-02 15:04 UTC"))
	p.Line("%s; %s, nats-server %s, redis-server %s; %d workers, LIMIT_ON_REDIS_DOWN=%s, appendfsync always.",
		r.machine, runtime.Version(), server.VERSION, r.runs[0].Redis, workers, r.o.onRedisDown)
	p.Line("What the rows mean is in [loadtest/README.md](../README.md#fault-runs).")
	p.Line("")
	p.Table(r.verdicts())
	for _, res := range r.runs {
		res.complain(p)
		p.Line("")
		p.Line("## Faults of seed %d", res.Seed)
		p.Line("")
		rows := [][]string{{"at", "fault", "on", "for", "recovered"}}
		for _, f := range res.Faults {
			rows = append(rows, []string{fmt.Sprintf("%.0f s", f.At.Seconds()), f.Kind, f.Target, seconds(f.For), seconds(f.Recovered)})
		}
		p.Table(rows)
	}
	return p.Err
}

// verdicts is the table of the audit: a column for each run.
func (r *report) verdicts() [][]string {
	rows := [][]string{{"seed"}}
	for _, res := range r.runs {
		rows[0] = append(rows[0], fmt.Sprint(res.Seed))
	}
	add := func(name string, value func(*result) string) {
		row := []string{name}
		for _, res := range r.runs {
			row = append(row, value(res))
		}
		rows = append(rows, row)
	}
	count := func(name string, value func(*result) int) {
		add(name, func(res *result) string { return fmt.Sprint(value(res)) })
	}
	add("took", func(res *result) string { return res.Took.Round(time.Second).String() })
	count("faults", func(res *result) int { return len(res.Faults) })
	count("messages", func(res *result) int { return res.Messages.Published })
	count("acknowledged", func(res *result) int { return res.Messages.Acknowledged })
	for e := range audit.Ending(audit.NumEndings) {
		name := e.String()
		if e == audit.Lost {
			name = "**lost**"
		}
		count(name, func(res *result) int { return res.Messages.Endings[e] })
	}
	count("admissions", func(res *result) int { return res.Windows.Admissions })
	add("fullest window", func(res *result) string { return res.Windows.Fullest })
	count("**over**", func(res *result) int { return res.Windows.Over })
	if r.o.onRedisDown != "closed" {
		count("over while Redis was away", func(res *result) int { return res.Windows.Excused })
	}
	count("**handled without a permit**", func(res *result) int { return len(res.Without) })
	count("**wrong dead letters**", func(res *result) int { return len(res.Messages.Wrong) })
	count("**attempts beyond the last**", func(res *result) int { return len(res.TooMany) })
	count("**processes that ended by themselves**", func(res *result) int { return len(res.Crashes) })
	count("worker_killed dead letters", func(res *result) int { return res.Messages.Reasons["worker_killed"] })
	count("workers killed by messages", func(res *result) int { return int(res.Killings) })
	count("lanes opened", func(res *result) int { return res.Carried.Lanes })
	count("moved into lanes", func(res *result) int { return int(res.Carried.Moved) })      //nolint:gosec // a count
	count("most messages in lanes", func(res *result) int { return int(res.Carried.Most) }) //nolint:gosec // as above
	count("permits reserved", func(res *result) int { return res.Windows.Reserved })
	count("stored in RETRY", func(res *result) int { return int(res.Carried.Again) }) //nolint:gosec // as above
	count("repeats", func(res *result) int { return res.Messages.Repeated })
	count("tried again", func(res *result) int { return res.Messages.Retried })
	count("ended in two ways", func(res *result) int { return res.Messages.TwoEndings })
	count("answers lost on the way", func(res *result) int { return res.Messages.Untold })
	count("publishes refused by a full stream", func(res *result) int { return int(res.Refused) })
	count("publishes repeated", func(res *result) int { return int(res.Retried) })
	return rows
}

// complain lists what is wrong with a run.
func (res *result) complain(p *program.Printer) {
	const most = 20
	list := func(what string, items []string) {
		if len(items) == 0 {
			return
		}
		p.Line("")
		p.Line("Seed %d, %s:", res.Seed, what)
		p.Line("")
		for _, item := range items[:min(most, len(items))] {
			p.Line("- %s", item)
		}
		if more := len(items) - most; more > 0 {
			p.Line("- and %d more", more)
		}
	}
	list("lost", res.Messages.Lost)
	list("over", res.Windows.Worst)
	list("handled without a permit", res.Without)
	list("wrong dead letters", res.Messages.Wrong)
	list("attempts beyond the last", res.TooMany)
	list("ended by themselves", res.Crashes)
	list("not over in time, or not used", res.Problems)
	if res.Dir != "" {
		p.Line("")
		p.Line("The files of seed %d are in %s.", res.Seed, res.Dir)
	}
}

// seconds formats a duration.
func seconds(d time.Duration) string { return fmt.Sprintf("%.1f s", d.Seconds()) }
