package main

import (
	"flag"
	"io"
	"time"

	"arrakis/loadtest/program"
)

// options are what a run is asked for.
type options struct {
	rate     int
	duration time.Duration
	workers  int
	tenants  int
	quick    bool
	json     bool
	keep     bool
	out      string // folder of the report
	root     string // the repository; "" if it is not known
	arrakis  string // the binary
	line     string // the command, for the report
}

// total is how many edits are made.
func (o *options) total() int { return int(float64(o.rate) * o.duration.Seconds()) }

const help = `go run ./loadtest record [flags]

Changes tenants, which are kept in PostgreSQL, and shows how long it takes until
a change is in force on every worker, and until a Redis that has lost everything
is filled again.

It starts PostgreSQL, redis-server and workers (arrakis serve), each a process of
its own, on free ports of the loopback interface. Each worker has a nats-server
of its own, so that it is known which worker has answered a command: the limit in
the answer is what that worker has in force.

It needs Go, redis-server and PostgreSQL (apt-get install redis-server
postgresql).

Exit code: 0 if all targets are met, 1 if not, 2 for wrong usage.

About four minutes; or to try it, in half a minute:
  go run ./loadtest record
  go run ./loadtest record --quick --out /tmp

Flags:
`

// parseOptions reads the command line. Errors are program.ErrUsage, or flag.ErrHelp.
func parseOptions(args []string, stderr io.Writer) (options, error) {
	var o options
	f := flag.NewFlagSet("record", flag.ContinueOnError)
	f.IntVar(&o.rate, "rate", 1_000, "edits a second")
	f.DurationVar(&o.duration, "duration", time.Minute, "for how long they are made")
	f.IntVar(&o.workers, "workers", 3, "workers")
	f.IntVar(&o.tenants, "tenants", 1_000_000, "tenants that an empty Redis is filled with")
	f.BoolVar(&o.quick, "quick", false, "a short run at a low rate with few tenants, whose times are not judged. The\nflags above have other defaults")
	f.BoolVar(&o.json, "json", false, "print the result as JSON")
	f.BoolVar(&o.keep, "keep", false, "keep the files and logs of all processes, as a run that misses a target does")
	f.StringVar(&o.out, "out", "loadtest/report", "folder for the report, record.md")
	f.StringVar(&o.root, "root", "", "the repository, for its commit (set by go run ./loadtest)")
	f.StringVar(&o.arrakis, "arrakis", "", "the arrakis binary (set by go run ./loadtest)")
	if err := program.Parse(f, help, args, stderr); err != nil {
		return o, err
	}
	wrong := func(format string, values ...any) (options, error) { return o, program.Wrong(format, values...) }
	o.line = program.Line(f)
	if o.quick {
		program.SetOthers(f, map[string]string{"rate": "200", "duration": "5s", "tenants": "20000"})
	}
	switch {
	case o.rate < watchEvery || o.rate > 100_000:
		return wrong("--rate is %d, want %d to 100000", o.rate, watchEvery)
	case o.duration < time.Second || o.duration > 10*time.Minute:
		return wrong("--duration is %v, want 1s to 10m", o.duration)
	case o.workers < 1 || o.workers > 16:
		return wrong("--workers is %d, want 1 to 16", o.workers)
	case o.tenants < 1 || o.tenants > 10_000_000:
		return wrong("--tenants is %d, want 1 to 10000000", o.tenants)
	case o.arrakis == "":
		return wrong("--arrakis is missing: use go run ./loadtest record")
	}
	return o, nil
}
