package main

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"arrakis/loadtest/faults/audit"
)

// Three runs are one file: with the figures of all in one table, the faults of each in a table of its own, and what it
// takes to make them again. No table is wider than a terminal.
func TestReportOfThreeRuns(t *testing.T) {
	dir := t.TempDir()
	o, err := parseOptions([]string{"--arrakis=a", "--nodes=3", "--runs=3", "--out=" + dir}, os.Stderr)
	if err != nil {
		t.Fatal(err)
	}
	rep := &report{o: o, commit: "0123456789ab", machine: "2 x CPU, 8 GiB, linux", date: time.Date(2026, 11, 26, 4, 0, 0, 0, time.UTC)}
	for seed := range uint64(3) {
		res := &result{Seed: seed + 1, Took: 150 * time.Second, Redis: "7.0.15"}
		res.Messages = audit.Result{Published: 100_000, Acknowledged: 100_000}
		res.Messages.Endings[audit.Handled] = 100_000
		res.Windows.Fullest = "20 of 20"
		for _, k := range faultKinds {
			res.Faults = append(res.Faults, fault{Kind: k.name, Target: "worker-2, 210ms", At: 140 * time.Second, For: 10 * time.Second, Recovered: 12 * time.Second})
		}
		rep.runs = append(rep.runs, res)
	}
	if err := rep.save(); err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil || !slices.Equal(files, []string{filepath.Join(dir, "faults-3.md")}) {
		t.Fatalf("wrote %v, %v", files, err)
	}
	text, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	var printed bytes.Buffer
	if err := rep.write(&printed); err != nil || printed.String() != string(text) {
		t.Errorf("prints something else than it writes: %v\n%s", err, printed.String())
	}
	for _, want := range []string{
		"`go run ./loadtest faults --nodes=3 --out=" + dir + " --runs=3` at commit 0123456789ab, 2026-11-26 04:00 UTC.",
		"2 x CPU, 8 GiB, linux; go", "redis-server 7.0.15",
		"| **lost**                               | 0        | 0        | 0        |",
		"| took                                   | 2m30s    | 2m30s    | 2m30s    |",
		"| 140 s | clock of Redis set forward   | worker-2, 210ms | 10.0 s | 12.0 s    |",
		"## Faults of seed 1\n", "## Faults of seed 2\n", "## Faults of seed 3\n",
	} {
		if !strings.Contains(string(text), want) {
			t.Errorf("the report does not say %q:\n%s", want, text)
		}
	}
	for line := range strings.Lines(string(text)) {
		if strings.HasPrefix(line, "|") && len(line) > 81 { // with the end of the line
			t.Errorf("a row of %d columns: %s", len(line)-1, line)
		}
	}
}

// A run fails for each thing that must not be, and not for what faults may do.
func TestWhatFailsARun(t *testing.T) {
	fine := result{Messages: audit.Result{Published: 1, Acknowledged: 1, Repeated: 1, Retried: 1, TwoEndings: 1, Untold: 1}, Refused: 1, Retried: 1}
	fine.Messages.Endings[audit.Unavailable] = 1
	fine.Windows.Excused = 1
	if fine.failed() {
		t.Errorf("%+v fails", fine)
	}
	for name, spoil := range map[string]func(*result){
		"lost":         func(r *result) { r.Messages.Endings[audit.Lost]++ },
		"unfinished":   func(r *result) { r.Messages.Endings[audit.Unfinished]++ },
		"over":         func(r *result) { r.Windows.Over++ },
		"not stored":   func(r *result) { r.Messages.Published++ },
		"wrong":        func(r *result) { r.Messages.Wrong = []string{"a"} },
		"no permit":    func(r *result) { r.Without = []string{"a"} },
		"tried again":  func(r *result) { r.TooMany = []string{"a"} },
		"crashed":      func(r *result) { r.Crashes = []string{"a"} },
		"not all over": func(r *result) { r.Problems = []string{"a"} },
	} {
		if res := fine; !res.failed() {
			if spoil(&res); !res.failed() {
				t.Errorf("%s: does not fail", name)
			}
		}
	}
}
