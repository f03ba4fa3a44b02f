package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"arrakis/loadtest/program"
)

// options are what a benchmark is asked for, and how large it is.
type options struct {
	runs    int      // of each contender
	only    []string // names of the sections to run; all if empty
	out     string   // folder of the report
	profile string   // folder of CPU profiles; "" for none
	root    string   // the repository; "" if it is not known
	arrakis string   // the binary of arrakis; "" if there is none
	line    string   // the command, for the report
	size
}

// size is how much is measured.
type size struct {
	run       time.Duration // how long a run of a contender takes, about
	admitted  int           // messages of the run in which all are admitted
	many      int           // communities of the run with many
	configs   int           // tenants that are stored when a process starts
	latency   time.Duration // of requests at a fixed rate
	saturated time.Duration // of requests as fast as they are answered
	watched   time.Duration // how long a run with open consoles takes, about
	phases    fairSize      // of the section fairness
}

var (
	fullSize = size{
		run: 1500 * time.Millisecond, admitted: 200_000, many: 100_000, configs: 1_000_000,
		latency: 5 * time.Second, saturated: 3 * time.Second, watched: 6 * time.Second,
		phases: fairSize{
			burst: 200_000, calm: 8 * time.Second, takenIn: 15 * time.Second, after: 8 * time.Second, hard: 12 * time.Second,
		},
	}
	quickSize = size{
		run: 500 * time.Millisecond, admitted: 20_000, many: 10_000, configs: 50_000,
		latency: 2 * time.Second, saturated: time.Second, watched: 2 * time.Second,
		phases: fairSize{
			burst: 100_000, calm: 2 * time.Second, takenIn: 4 * time.Second, after: 2 * time.Second, hard: 4 * time.Second,
		},
	}
)

// parseOptions reads the command line. Errors are program.ErrUsage, or flag.ErrHelp.
func parseOptions(args []string, stderr io.Writer) (options, error) {
	var o options
	var only string
	var quick bool
	f := flag.NewFlagSet("bench", flag.ContinueOnError)
	f.SetOutput(stderr)
	f.IntVar(&o.runs, "runs", 0, "runs of each contender, in turn (default 3, or 1 with --quick)")
	f.StringVar(&only, "only", "", "sections to run, comma-separated: "+strings.Join(sectionNames(), ", "))
	f.BoolVar(&quick, "quick", false, "about three minutes instead of twenty: to try it; its numbers are rough")
	f.StringVar(&o.out, "out", "loadtest/report", "folder for report.md and its plots")
	f.StringVar(&o.profile, "profile", "", "folder for CPU profiles of arrakis's runs on a stream and of the servers of requests")
	f.StringVar(&o.root, "root", "", "the repository, for its commit (set by go run ./loadtest)")
	f.StringVar(&o.arrakis, "arrakis", "", "the arrakis binary whose start is timed (set by go run ./loadtest)")
	if err := f.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return o, err
		}
		return o, fmt.Errorf("%w: %w", program.ErrUsage, err)
	}
	if f.NArg() > 0 {
		return o, fmt.Errorf("%w: unexpected %q; all settings are flags, see --help", program.ErrUsage, f.Arg(0))
	}
	o.size = fullSize
	if quick {
		o.size = quickSize
	}
	if o.runs == 0 {
		o.runs = 3
		if quick {
			o.runs = 1
		}
	}
	if o.runs < 1 || o.runs > 100 {
		return o, fmt.Errorf("%w: --runs is %d, want 1 to 100", program.ErrUsage, o.runs)
	}
	if only != "" {
		o.only = strings.Split(only, ",")
	}
	for _, name := range o.only {
		if !slices.Contains(sectionNames(), name) {
			return o, fmt.Errorf("%w: --only %q is none of %s", program.ErrUsage, name, strings.Join(sectionNames(), ", "))
		}
	}
	o.line = program.Line(f)
	return o, nil
}
