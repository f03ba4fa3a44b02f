package report

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestSeries(t *testing.T) {
	for _, tt := range []struct {
		s                Series
		median, min, max float64
	}{
		{nil, 0, 0, 0},
		{Series{3}, 3, 3, 3},
		{Series{3, 1, 2}, 2, 1, 3},
		{Series{4, 1, 2, 3}, 2.5, 1, 4},
	} {
		if got := tt.s.Median(); got != tt.median {
			t.Errorf("median of %v is %v, want %v", tt.s, got, tt.median)
		}
		if tt.s.Min() != tt.min || tt.s.Max() != tt.max {
			t.Errorf("%v reaches from %v to %v, want %v to %v", tt.s, tt.s.Min(), tt.s.Max(), tt.min, tt.max)
		}
	}
}

func TestOverComparesWithinRounds(t *testing.T) {
	got := Series{10, 100, 30}.Over(Series{10, 50, 10}).Median()
	if got != 2 {
		t.Errorf("median of the ratios is %v, want 2", got)
	}
	if got := (Series{1}).Over(Series{0}); len(got) != 0 {
		t.Errorf("a ratio to nothing is %v", got)
	}
}

func TestNumbers(t *testing.T) {
	for v, want := range map[float64]string{
		0: "0", 7: "7", 999: "999", 1_000: "1,000", 1_234_567: "1,234,567", -1_500: "-1,500",
	} {
		if got := Count(v); got != want {
			t.Errorf("%v is shown as %q, want %q", v, got, want)
		}
	}
	for v, want := range map[float64]string{0.5: "0.50", 12.34: "12.3", 123.4: "123", 12_345: "12,345"} {
		if got := Decimal(v); got != want {
			t.Errorf("%v is shown as %q, want %q", v, got, want)
		}
	}
}

func TestTargets(t *testing.T) {
	for _, tt := range []struct {
		target Target
		met    bool
		want   string
	}{
		{Target{Got: Series{0.9}, Least: 0.9, Unit: "x"}, true, ">= 0.9x"},
		{Target{Got: Series{0.89}, Least: 0.9, Unit: "x"}, false, ">= 0.9x"},
		{Target{Got: Series{1}, Most: 1, Unit: " s"}, true, "<= 1 s"},
		{Target{Got: Series{1.01}, Most: 1, Unit: " s"}, false, "<= 1 s"},
		{Target{Got: Series{0}, Zero: true}, true, "0"},
		{Target{Got: Series{1}, Zero: true}, false, "0"},
		{Target{Most: 1}, false, "<= 1"}, // nothing was measured
	} {
		if got := tt.target.Met(); got != tt.met {
			t.Errorf("%+v: met is %t", tt.target, got)
		}
		if got := tt.target.Want(); got != tt.want {
			t.Errorf("%+v: want is shown as %q, want %q", tt.target, got, tt.want)
		}
	}
}

func TestTableOnATerminal(t *testing.T) {
	table := &Table{Title: "Rates", Columns: []string{"contender", "msg/s"}}
	table.Add("bare", "100,000")
	table.Add("arrakis", "95,000")
	var b strings.Builder
	if err := table.WriteText(&b); err != nil {
		t.Fatal(err)
	}
	want := "\nRates\n" +
		"  contender    msg/s\n" +
		"  bare       100,000\n" +
		"  arrakis     95,000\n"
	if b.String() != want {
		t.Errorf("wrote\n%s\nwant\n%s", b.String(), want)
	}
}

// The widest table there is, with numbers as large as they get.
func TestTablesFitTheTerminal(t *testing.T) {
	table := &Table{
		Title:   "Pipeline",
		Columns: []string{"contender", "msg/s", "min .. max", "CPU s/M", "Redis/1k", "warm", "Redis B/msg", "MiB", "over"},
	}
	table.Add("watermill", "999,999", "999,999 .. 999,999", "1,234", "4,006", "4,006", "1,234", "1,234", "12,345")
	targets := Targets([]Target{
		{Name: "requests: p99 at 1,000/s of the minimal server's", Got: Series{12.3, 12.4}, Most: 1.5, Unit: "x"},
		{Name: "scale: memory of an active community", Got: Series{1_234, 2_345}, Most: 1024, Unit: " B"},
	})
	for _, tt := range []*Table{table, targets} {
		var b strings.Builder
		if err := tt.WriteText(&b); err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(b.String()) {
			if n := utf8.RuneCountInString(strings.TrimRight(line, "\n")); n > Width {
				t.Errorf("%d columns, want %d at most: %s", n, Width, line)
			}
		}
	}
}

func TestSave(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "report")
	r := &Report{Machine: Machine{CPU: "a CPU", Line: "bench --quick"}}
	table := &Table{Title: "Rates", Columns: []string{"contender", "msg/s"}, Notes: []string{"A note."}}
	table.Add("bare", "100")
	r.Tables = append(r.Tables, table)
	r.Plot(table, "rates.svg", "messages per second", []Bar{{"bare", Series{90, 100, 120}}, {"arrakis", Series{80, 95, 99}}})
	r.Targets = []Target{{Name: "fast", Got: Series{1}, Least: 2}}
	if err := r.Save(dir); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(dir, "report.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"| contender | msg/s |\n|---|---:|\n| bare | 100 |", "A note.", "![Rates](rates.svg)",
		"| fast | >= 2 | 1.00 | 1.00 .. 1.00 | missed |", "a CPU", "`bench --quick`",
	} {
		if !strings.Contains(string(text), want) {
			t.Errorf("the report lacks %q:\n%s", want, text)
		}
	}
	plot, err := os.ReadFile(filepath.Join(dir, "rates.svg"))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"<svg", "Rates", "arrakis", "messages per second"} {
		if !strings.Contains(string(plot), want) {
			t.Errorf("the plot lacks %q", want)
		}
	}
}
