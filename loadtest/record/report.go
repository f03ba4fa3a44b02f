package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"runtime"
	"strings"
	"time"

	"arrakis/loadtest/program"
)

// What is promised.
const (
	inForceWithin = time.Second     // p99 of an edit in force on every worker
	rebuiltWithin = 2 * time.Minute // an empty Redis is filled with a million tenants
)

// report is what a run has shown, and where. Its JSON is what --json prints.
type report struct {
	program.Report
	Edits   *editsResult   `json:"edits"`
	Rebuild *rebuildResult `json:"rebuild"`
	Crashes []string       `json:"crashes,omitempty"`

	o options
}

func newReport(ctx context.Context, o options) *report {
	return &report{Report: program.NewReport(ctx, o.line, o.root), o: o}
}

// judge lists the targets.
func (r *report) judge() {
	e, b := r.Edits, r.Rebuild
	r.Targets = []program.Target{
		program.Within("an edit is in force on every worker, p99", e.InForce, e.InForce.P99, inForceWithin, r.o.quick),
		program.None("acknowledged edits that were not in force within 30 s", e.Never),
		program.None("edits that failed", e.Failed),
		program.None("edits that could not be started: load that did not happen", e.Dropped),
		same("Redis has what PostgreSQL has after the edits", e.Drift),
		{
			Name: fmt.Sprintf("an empty Redis is filled with %d tenants", b.Tenants), Want: "<= " + rebuiltWithin.String(),
			Got: b.Took.Round(100 * time.Millisecond).String(), Met: b.Took <= rebuiltWithin,
		},
		program.Exactly("tenants in Redis then", int(b.Restored), b.Tenants),
		same("Redis has what PostgreSQL has then", b.Drift),
		program.None("workers that ended by themselves", len(r.Crashes)),
	}
}

// same is the target that nothing has drifted.
func same(name, drift string) program.Target {
	first, _, _ := strings.Cut(cmp.Or(drift, "it has"), "\n")
	return program.Target{Name: name, Want: "it has", Got: first, Met: drift == ""}
}

// save writes the report to its file.
func (r *report) save() error { return program.SaveReport(r.o.out, "record.md", r.write) }

// print writes the report for people, or as JSON.
func (r *report) print(w io.Writer) error { return program.PrintReport(w, r, r.o.json, r.write) }

// write writes the report as Markdown.
func (r *report) write(w io.Writer) error {
	p := &program.Printer{W: w}
	r.Head(p, "Tenants in PostgreSQL", fmt.Sprintf("%s; %d workers", runtime.Version(), r.o.workers), "tenants-in-postgresql")
	p.Line("")
	p.Line("## %d edits a second for %v", r.o.rate, r.o.duration)
	p.Line("")
	p.Table([][]string{
		{"edits", ""},
		{"sent", fmt.Sprint(r.Edits.Sent)},
		{"sent again, because a worker served as many requests as it accepts", fmt.Sprint(r.Edits.Repeated)},
		{"sent in", r.Edits.Took.Round(100 * time.Millisecond).String()},
		{"commands that asked workers what they have in force", fmt.Sprint(r.Edits.Probes)},
	})
	p.Line("")
	p.Table([][]string{
		{"time from when an edit was sent", "of", "p50", "p99", "max"},
		r.Edits.Acked.Row("until it was acknowledged"),
		r.Edits.InForce.Row("until it was in force on every worker"),
	})
	for i, example := range append(r.Edits.Examples, r.Crashes...) {
		if i == 0 {
			p.Line("")
		}
		p.Line("- %s", example)
	}
	if r.Dir != "" {
		p.Line("")
		p.Line("Files and logs are in %s.", r.Dir)
	}
	return p.Err
}
