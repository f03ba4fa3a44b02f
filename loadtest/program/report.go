package program

import (
	"cmp"
	"context"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Report is what the reports of all programs begin with: of which run, where, and what became of the promises. A program
// embeds it in its own. Its JSON is the first part of what --json prints.
type Report struct {
	Command string    `json:"command"`
	Commit  string    `json:"commit"`
	Date    time.Time `json:"date"`
	Machine string    `json:"machine"`
	Busy    string    `json:"load_average"` // of the machine when the run began: what else it did
	Targets []Target  `json:"targets"`
	Dir     string    `json:"dir,omitempty"` // files, if they were kept
}

// NewReport begins the report of a run that begins now. line is its command, see [Line], and root the repository.
func NewReport(ctx context.Context, line, root string) Report {
	return Report{
		Command: line, Commit: cmp.Or(Commit(ctx, root), "unknown"), Date: time.Now(), Machine: Machine(ctx), Busy: Busy(),
	}
}

// Failed reports whether a target is missed.
func (r *Report) Failed() bool {
	return slices.ContainsFunc(r.Targets, func(t Target) bool { return !t.Met && !t.Unjudged })
}

// Keep keeps the files of the run if the run has failed or keep is true, and removes them otherwise.
func (r *Report) Keep(dir string, keep bool) error {
	if keep || r.Failed() {
		r.Dir = dir
		return nil
	}
	return os.RemoveAll(dir)
}

// Head writes the beginning of the report: its title, what ran where, and the targets. versions says with which servers
// and how many workers, and about is the part of loadtest/README.md that explains the rows.
func (r *Report) Head(p *Printer, title, versions, about string) {
	p.Line("# %s", title)
	p.Line("")
	p.Line("`%s` at commit %s, %s.", r.Command, r.Commit, r.Date.UTC().Format("2006-01-02 15:04 UTC"))
	p.Line("%s; load average %s when it began; %s.", r.Machine, r.Busy, versions)
	p.Line("What the rows mean is in [loadtest/README.md](../README.md#%s).", about)
	p.Line("")
	rows := [][]string{{"target", "want", "got", ""}}
	for i := range r.Targets {
		t := &r.Targets[i]
		rows = append(rows, []string{t.Name, t.Want, t.Got, t.Result()})
	}
	p.Table(rows)
}

// SaveReport writes a report, which write makes, to a file of the folder dir, which it makes.
func SaveReport(dir, name string, write func(io.Writer) error) error {
	if err := os.MkdirAll(dir, 0o755); err != nil { //nolint:gosec // to be read by all
		return err
	}
	var b strings.Builder
	if err := write(&b); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, name), []byte(b.String()), 0o644) //nolint:gosec // to be read by all
}

// PrintReport writes a report for people, or all of it as JSON.
func PrintReport(w io.Writer, report any, asJSON bool, write func(io.Writer) error) error {
	if !asJSON {
		return write(w)
	}
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	return encoder.Encode(report)
}
