package main

import (
	"context"
	"fmt"
	"io"
	"runtime"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"arrakis/loadtest/program"
)

// report is what a run has shown, and where. Its JSON is what --json prints.
type report struct {
	program.Report
	Load  *loadResult  `json:"load,omitempty"`
	Flood *floodResult `json:"flood,omitempty"`

	o options
}

func newReport(ctx context.Context, o options) *report {
	return &report{Report: program.NewReport(ctx, o.line, o.root), o: o}
}

// judge lists the targets.
func (r *report) judge() {
	if r.Load != nil {
		r.Targets = append(r.Targets, r.Load.targets(r.o)...)
	}
	if r.Flood != nil {
		r.Targets = append(r.Targets, r.Flood.targets(r.o)...)
	}
}

// save writes the report to its file.
func (r *report) save() error { return program.SaveReport(r.o.out, "discord.md", r.write) }

// print writes the report for people, or as JSON.
func (r *report) print(w io.Writer) error { return program.PrintReport(w, r, r.o.json, r.write) }

// write writes the report as Markdown.
func (r *report) write(w io.Writer) error {
	p := &program.Printer{W: w}
	r.Head(p, "Interactions of Discord", fmt.Sprintf("%s, nats-server %s; %d workers", runtime.Version(), server.VERSION, r.o.workers), "interactions-of-discord")
	if r.Load != nil {
		r.Load.write(p, r.o)
	}
	if r.Flood != nil {
		r.Flood.write(p)
	}
	if r.Dir != "" {
		p.Line("")
		p.Line("Files and logs are in %s.", r.Dir)
	}
	return p.Err
}

func (r *loadResult) write(p *program.Printer, o options) {
	p.Line("")
	p.Line("## Load: %d interactions a second for %v, a worker killed every %v", o.rate, o.duration, o.kill)
	p.Line("")
	rows := [][]string{{"interactions", ""}}
	add := func(name string, n any) { rows = append(rows, []string{name, fmt.Sprint(n)}) }
	add("sent", r.Sent)
	for _, name := range endingNames {
		add(name, r.Endings[name])
	}
	add("workers killed", r.Kills)
	add("connections broken by a kill", r.Broken)
	add("of these, answered by another worker", r.BrokenAnswered)
	add("connections refused, so that the next worker took it", r.Refused)
	add("requests repeated by the load balancer", r.Repeated)
	add("deferred", r.Deferred)
	add("handlers run again", r.Repeats)
	add("time until all had ended, after the load", r.Waited.Round(100*time.Millisecond))
	add("calls of the API: callbacks", r.Callbacks)
	add("calls of the API: edits", r.EditCalls)
	add("calls of the API: follow-ups", r.FollowUps)
	add("calls answered 4xx", r.Rejected)
	add("calls answered 429", r.Limited)
	add("calls that count towards a ban", r.Invalid)
	p.Table(rows)
	p.Line("")
	p.Table([][]string{
		{"time from when it was due", "of", "p50", "p99", "max"},
		r.Quick.Row("to the first answer, quick handlers"),
		r.All.Row("to the first answer, all"),
		r.Edits.Row("to the edited answer"),
	})
	complain(p, append(r.Examples, r.Crashes...))
}

func (r *floodResult) write(p *program.Printer) {
	p.Line("")
	p.Line("## Flood of one free guild")
	p.Line("")
	p.Table([][]string{
		{"interactions", ""},
		{"sent", fmt.Sprint(r.Sent)},
		{"not started", fmt.Sprint(r.Dropped)},
		{"answered", fmt.Sprint(r.Answered)},
		{"refused, ephemeral, with the time to try again", fmt.Sprint(r.Refusals)},
		{"calls of the API", fmt.Sprint(r.RESTCalls)},
		{"took", r.Took.Round(100 * time.Millisecond).String()},
	})
	p.Line("")
	p.Table([][]string{{"time from when it was due", "of", "p50", "p99", "max"}, r.All.Row("to the answer")})
	complain(p, r.Examples)
}

// complain lists what was not answered well.
func complain(p *program.Printer, items []string) {
	for i, item := range items {
		if i == 0 {
			p.Line("")
		}
		p.Line("- %s", item)
	}
}
