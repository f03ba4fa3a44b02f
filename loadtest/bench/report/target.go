package report

import "fmt"

// Target is a promise, and what became of it in this run.
type Target struct {
	Name string
	Got  Series
	// Least and Most bound the median; 0 is no bound. For a bound of 0 use Zero.
	Least, Most float64
	Zero        bool   // the median is to be 0
	Unit        string // behind numbers, such as "x" or " ms"
}

// Met reports whether the median is within the bounds. Nothing measured is not met.
func (t *Target) Met() bool {
	m := t.Got.Median()
	switch {
	case len(t.Got) == 0:
		return false
	case t.Zero:
		return m == 0
	case t.Least != 0 && m < t.Least:
		return false
	default:
		return t.Most == 0 || m <= t.Most
	}
}

// Want says what the bounds are.
func (t *Target) Want() string {
	switch {
	case t.Zero:
		return "0" + t.Unit
	case t.Least != 0:
		return fmt.Sprintf(">= %g%s", t.Least, t.Unit)
	default:
		return fmt.Sprintf("<= %g%s", t.Most, t.Unit)
	}
}

// Targets shows targets as a table.
func Targets(targets []Target) *Table {
	t := &Table{
		Title:   "Targets",
		Columns: []string{"target", "want", "median", "min .. max", ""},
		Notes:   []string{"Ratios are taken within each round of runs; the median of the rounds counts."},
	}
	for i := range targets {
		target := &targets[i]
		result := "missed"
		if target.Met() {
			result = "met"
		}
		t.Add(target.Name, target.Want(), Decimal(target.Got.Median())+target.Unit, target.Got.Spread(Decimal), result)
	}
	return t
}
