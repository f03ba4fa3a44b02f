package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
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
	Command string           `json:"command"`
	Commit  string           `json:"commit"`
	Date    time.Time        `json:"date"`
	Machine string           `json:"machine"`
	Busy    string           `json:"load_average"` // of the machine when the run began: what else it did
	Targets []program.Target `json:"targets"`
	Edits   *editsResult     `json:"edits"`
	Rebuild *rebuildResult   `json:"rebuild"`
	Crashes []string         `json:"crashes,omitempty"`
	Dir     string           `json:"dir,omitempty"` // files, if they were kept

	o options
}

func newReport(ctx context.Context, o options) *report {
	return &report{
		Command: o.line, Commit: cmp.Or(program.Commit(ctx, o.root), "unknown"), Date: time.Now(), Machine: program.Machine(ctx), Busy: program.Busy(), o: o,
	}
}

// judge lists the targets.
func (r *report) judge() {
	e, b := r.Edits, r.Rebuild
	r.Targets = []program.Target{
		program.Within("an edit is in force on every worker, p99", e.InForce, e.InForce.P99, inForceWithin, r.o.quick),
		program.None("acknowledged edits that were not in force within 30 s", e.Never),
		refused(e.Refused, r.o.quick),
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

// refused is the target that workers have taken all edits.
func refused(n int64, unjudged bool) program.Target {
	t := program.None("edits that were refused: load that did not happen", n)
	t.Unjudged = unjudged
	return t
}

// same is the target that nothing has drifted.
func same(name, drift string) program.Target {
	first, _, _ := strings.Cut(cmp.Or(drift, "it has"), "\n")
	return program.Target{Name: name, Want: "it has", Got: first, Met: drift == ""}
}

// failed reports whether a target is missed.
func (r *report) failed() bool {
	for _, t := range r.Targets {
		if !t.Met && !t.Unjudged {
			return true
		}
	}
	return false
}

// save writes the report to its file.
func (r *report) save() error {
	if err := os.MkdirAll(r.o.out, 0o755); err != nil { //nolint:gosec // to be read by all
		return err
	}
	var b strings.Builder
	if err := r.write(&b); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(r.o.out, "record.md"), []byte(b.String()), 0o644) //nolint:gosec // to be read by all
}

// print writes the report for people, or as JSON.
func (r *report) print(w io.Writer) error {
	if !r.o.json {
		return r.write(w)
	}
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	return encoder.Encode(r)
}

// write writes the report as Markdown.
func (r *report) write(w io.Writer) error {
	p := &program.Printer{W: w}
	p.Line("# Tenants in PostgreSQL")
	p.Line("")
	p.Line("`%s` at commit %s, %s.", r.Command, r.Commit, r.Date.UTC().Format("2006-01-02 15:04 UTC"))
	p.Line("%s; load average %s when it began; %s; %d workers.", r.Machine, r.Busy, runtime.Version(), r.o.workers)
	p.Line("What the rows mean is in [loadtest/README.md](../README.md#tenants-in-postgresql).")
	p.Line("")
	rows := [][]string{{"target", "want", "got", ""}}
	for _, t := range r.Targets {
		rows = append(rows, []string{t.Name, t.Want, t.Got, t.Result()})
	}
	p.Table(rows)
	p.Line("")
	p.Line("## %d edits a second for %v", r.o.rate, r.o.duration)
	p.Line("")
	p.Table([][]string{
		{"edits", ""},
		{"sent", fmt.Sprint(r.Edits.Sent)},
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
