package main

import (
	"flag"
	"io"
	"strings"

	"arrakis/loadtest/program"
)

// options are what a run is asked for.
type options struct {
	faults      int
	messages    int
	nodes       int
	runs        int
	seed        uint64
	onRedisDown string
	kinds       []faultKind // to draw from
	out         string      // folder of the report
	keep        bool
	root        string // the repository; "" if it is not known
	arrakis     string // the binary
	line        string // the command, for the report
}

const help = `go run ./loadtest faults [flags]

Runs arrakis while its servers, its workers and the network between them fail,
and then shows that nothing was lost and no limit was exceeded.

It starts nats-server (one, or a cluster of three with three replicas),
redis-server and three workers (arrakis serve), each a process of its own, on
free ports of the loopback interface. Publishers send messages over NATS and
HTTP, each until it is acknowledged: most at an even pace, and beside them
bursts of two communities that take more than their share and so get into lanes.
Meanwhile faults are drawn at random from the seed: kills, freezes, drains,
cuts, delays, half-open connections, lost leaders, a stepped clock, full
streams, handlers that hang, and a message that kills every worker that takes
it. Afterwards an audit follows every message to its end, and every permit
through the append-only file of Redis.

It needs Go and redis-server 7 or later, and libfaketime to step the clock of
Redis (apt-get install redis-server libfaketime; without it, that fault is left
out).

Exit code: 0 if nothing was lost and no limit exceeded, 1 if not, 2 for wrong
usage.

To try it, in a minute or two; the report in the repository stays as it is:
  go run ./loadtest faults --messages 5000 --faults 6 --out /tmp
About four minutes; a cluster, three times; the same faults again:
  go run ./loadtest faults
  go run ./loadtest faults --nodes 3 --runs 3
  go run ./loadtest faults --seed 42

Flags:
`

// parseOptions reads the command line. Errors are program.ErrUsage, or flag.ErrHelp.
func parseOptions(args []string, stderr io.Writer) (options, error) {
	var o options
	var only string
	f := flag.NewFlagSet("faults", flag.ContinueOnError)
	f.IntVar(&o.faults, "faults", 22, "how many faults, one after the other; each kind comes before one comes\nagain")
	f.IntVar(&o.messages, "messages", 100_000, "how many messages, spread over the faults, beside a burst of 2,000\nduring each")
	f.IntVar(&o.nodes, "nodes", 1, "nats-servers: 1, or 3 with three replicas of every stream")
	f.IntVar(&o.runs, "runs", 1, "how many runs, each with the next seed")
	f.Uint64Var(&o.seed, "seed", 1, "what the faults and the messages are drawn from")
	f.StringVar(&o.out, "out", "loadtest/report", "folder for the report: faults-1.md or faults-3.md by the number of\nnodes, or faults-1-local.md")
	f.BoolVar(&o.keep, "keep", false, "keep the files and logs of all processes, as a run that fails does")
	f.StringVar(&o.onRedisDown, "on-redis-down", "closed", "LIMIT_ON_REDIS_DOWN of the workers: closed, or local, under which\nadmissions above a limit are excused while a worker cannot reach Redis\nand five seconds after")
	f.StringVar(&only, "only", "", "kinds of faults to draw from, comma-separated:\n"+strings.Join(kindNames(), ",\n"))
	f.StringVar(&o.root, "root", "", "the repository, for its commit (set by go run ./loadtest)")
	f.StringVar(&o.arrakis, "arrakis", "", "the arrakis binary (set by go run ./loadtest)")
	if err := program.Parse(f, help, args, stderr); err != nil {
		return o, err
	}
	wrong := func(format string, values ...any) (options, error) { return o, program.Wrong(format, values...) }
	o.kinds = faultKinds
	if only != "" {
		var unknown string
		if o.kinds, unknown = kindsNamed(strings.Split(only, ",")); unknown != "" {
			return wrong("--only %q is none of the kinds of faults", unknown)
		}
	}
	switch {
	case o.faults < 1 || o.faults > 1_000:
		return wrong("--faults is %d, want 1 to 1000", o.faults)
	case o.messages < 100 || o.messages > 10_000_000:
		return wrong("--messages is %d, want 100 to 10000000", o.messages)
	case o.nodes != 1 && o.nodes != 3:
		return wrong("--nodes is %d, want 1 or 3", o.nodes)
	case o.runs < 1 || o.runs > 100:
		return wrong("--runs is %d, want 1 to 100", o.runs)
	case o.onRedisDown != "closed" && o.onRedisDown != "local":
		return wrong("--on-redis-down is %q, want closed or local", o.onRedisDown)
	case o.arrakis == "":
		return wrong("--arrakis is missing: use go run ./loadtest faults")
	}
	o.line = program.Line(f)
	return o, nil
}
