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
	kill     time.Duration // between two kills; 0 is none
	workers  int
	slow     float64 // percent
	repeat   bool
	wait     time.Duration
	flood    int
	ackWait  time.Duration // 0 is that of arrakis
	only     string
	quick    bool
	json     bool
	keep     bool
	out      string // folder of the report
	root     string // the repository; "" if it is not known
	arrakis  string // the binary
	line     string // the command, for the report
}

// The sections of a run.
const (
	sectionLoad  = "load"
	sectionFlood = "flood"
)

// does reports whether the run has a section.
func (o *options) does(section string) bool { return o.only == "" || o.only == section }

// kills reports whether workers are killed.
func (o *options) kills() bool { return o.kill > 0 }

// total is how many interactions the load has.
func (o *options) total() int { return int(float64(o.rate) * o.duration.Seconds()) }

const help = `go run ./loadtest discord [flags]

Sends signed interactions to arrakis as Discord does, while workers are killed,
and shows how each of them was answered.

It starts nats-server, redis-server and workers (arrakis serve), each a process
of its own, on free ports of the loopback interface, with a Discord that is a
part of this program: it signs and sends interactions at a fixed rate, whatever
comes back, to all workers in turn, as a load balancer does, and serves the API
to which late answers go. A handler service answers quickly, or slowly enough
that the answer comes late. Every few seconds a worker is killed. Then every
interaction is followed to its end.

A second section sends a flood of one free guild: as many answers as its limit
allows, refusals for all others, and no call of the API.

It needs Go and redis-server (apt-get install redis-server).

Exit code: 0 if all targets are met, 1 if not, 2 for wrong usage.

About five minutes; or to try it, in less than half a minute:
  go run ./loadtest discord
  go run ./loadtest discord --quick --out /tmp

Flags:
`

// parseOptions reads the command line. Errors are program.ErrUsage, or flag.ErrHelp.
func parseOptions(args []string, stderr io.Writer) (options, error) {
	var o options
	f := flag.NewFlagSet("discord", flag.ContinueOnError)
	f.IntVar(&o.rate, "rate", 2_000, "interactions a second")
	f.DurationVar(&o.duration, "duration", time.Minute, "for how long they are sent")
	f.DurationVar(&o.kill, "kill", 5*time.Second, "time between two kills of a worker; 0 is none")
	f.IntVar(&o.workers, "workers", 2, "workers; at least 2 if they are killed")
	f.Float64Var(&o.slow, "slow", 1, "percent of the interactions whose handler takes 2.5 to 6 s")
	f.BoolVar(&o.repeat, "repeat", true, "let the load balancer send an interaction whose connection broke to another\nworker; with --repeat=false, those that a worker had when it was killed are\nlost")
	f.DurationVar(&o.wait, "wait", 15*time.Minute, "how long interactions that are open after the load may take: Discord's\ntokens live for 15 minutes")
	f.IntVar(&o.flood, "flood", 10_000, "interactions of the flood")
	f.StringVar(&o.only, "only", "", "one section: load or flood")
	f.BoolVar(&o.quick, "quick", false, "a short run at a low rate, whose latencies are not judged; workers take\nover after 2 s. The flags above have other defaults")
	f.BoolVar(&o.json, "json", false, "print the result as JSON")
	f.BoolVar(&o.keep, "keep", false, "keep the files and logs of all processes, as a run that misses a target does")
	f.StringVar(&o.out, "out", "loadtest/report", "folder for the report, discord.md")
	f.StringVar(&o.root, "root", "", "the repository, for its commit (set by go run ./loadtest)")
	f.StringVar(&o.arrakis, "arrakis", "", "the arrakis binary (set by go run ./loadtest)")
	if err := program.Parse(f, help, args, stderr); err != nil {
		return o, err
	}
	wrong := func(format string, values ...any) (options, error) { return o, program.Wrong(format, values...) }
	o.line = program.Line(f)
	if o.quick {
		o.ackWait = 2 * time.Second
		program.SetOthers(f, map[string]string{"rate": "300", "duration": "8s", "kill": "3s", "wait": "1m", "flood": "1000"})
	}
	switch {
	case o.rate < 1 || o.rate > 100_000:
		return wrong("--rate is %d, want 1 to 100000", o.rate)
	case o.duration < time.Second || o.duration > 10*time.Minute:
		return wrong("--duration is %v, want 1s to 10m", o.duration)
	case o.kill != 0 && o.kill < time.Second:
		return wrong("--kill is %v, want 0 or at least 1s", o.kill)
	case o.workers < 1 || o.workers > 16 || o.kills() && o.workers < 2:
		return wrong("--workers is %d, want 1 to 16, and 2 or more if they are killed", o.workers)
	case o.slow < 0 || o.slow > 100:
		return wrong("--slow is %g, want 0 to 100", o.slow)
	case o.wait < time.Second || o.wait > time.Hour:
		return wrong("--wait is %v, want 1s to 1h", o.wait)
	case o.flood < freeLimit || o.flood > 100_000:
		return wrong("--flood is %d, want %d to 100000", o.flood, freeLimit)
	case o.does(sectionFlood) && o.flood > 30*o.rate:
		return wrong("--flood is %d and --rate %d: the flood must take less than 30 s, to be within one window", o.flood, o.rate)
	case o.only != "" && o.only != sectionLoad && o.only != sectionFlood:
		return wrong("--only is %q, want load or flood", o.only)
	case o.arrakis == "":
		return wrong("--arrakis is missing: use go run ./loadtest discord")
	}
	return o, nil
}
