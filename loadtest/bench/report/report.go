package report

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
)

// Report is all that a benchmark says.
type Report struct {
	Machine Machine
	Tables  []*Table
	Targets []Target
	plots   []pending
}

// pending is a plot to be written.
type pending struct {
	file string
	draw func(path string) error
}

// Plot gives a table a plot of bars.
func (r *Report) Plot(t *Table, file, unit string, bars []Bar) {
	t.Plot = file
	r.plots = append(r.plots, pending{file, func(path string) error { return PlotBars(path, t.Title, unit, bars) }})
}

// PlotTails gives a table a plot of distributions.
func (r *Report) PlotTails(t *Table, file, unit string, all []Distribution) {
	t.Plot = file
	r.plots = append(r.plots, pending{file, func(path string) error { return PlotDistributions(path, t.Title, unit, all) }})
}

// targets is the table of the targets, in a slice that is empty if there are none.
func (r *Report) targets() []*Table {
	if len(r.Targets) == 0 {
		return nil
	}
	return []*Table{Targets(r.Targets)}
}

// WriteText writes the report for a terminal, the targets last.
func (r *Report) WriteText(w io.Writer) error {
	var errs []error
	for _, t := range slices.Concat(r.Tables, r.targets()) {
		errs = append(errs, t.WriteText(w))
	}
	return errors.Join(errs...)
}

// Save writes report.md and the plots to dir, which it makes if need be.
func (r *Report) Save(dir string) (err error) {
	if err := os.MkdirAll(dir, 0o755); err != nil { //nolint:gosec // to be read by all
		return fmt.Errorf("write the report: %w", err)
	}
	f, err := os.Create(filepath.Join(dir, "report.md")) //nolint:gosec // where the user asked for it
	if err != nil {
		return fmt.Errorf("write the report: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if _, err := fmt.Fprintf(f, "# arrakis beside its peers\n\nHow each number is measured: [README](../README.md).\n"); err != nil {
		return fmt.Errorf("write the report: %w", err)
	}
	for _, t := range slices.Concat(r.targets(), r.Tables, []*Table{r.Machine.table()}) {
		if err := t.WriteMarkdown(f); err != nil {
			return fmt.Errorf("write the report: %w", err)
		}
	}
	for _, p := range r.plots {
		if err := p.draw(filepath.Join(dir, p.file)); err != nil {
			return err
		}
	}
	return nil
}
