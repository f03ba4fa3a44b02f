package main

import (
	"flag"
	"io"

	"arrakis/loadtest/program"
)

// options are what a run is asked for.
type options struct {
	messages int
	queue    string
	keep     bool
	out      string // folder of the report
	root     string // the repository; "" if it is not known
	arrakis  string // the binary
	line     string // the command, for the report
}

const help = `go run ./loadtest rabbitmq [flags]

Drains a queue of RabbitMQ with arrakis drain rabbitmq, while RabbitMQ, the
bridge and NATS are each killed once, and shows whether a message was lost, or
charged twice.

It starts rabbitmq-server, nats-server, redis-server, a worker (arrakis serve)
and the bridge, each a process of its own, on free ports of the loopback
interface. A queue is filled, and drained. After a quarter of the messages
RabbitMQ is killed with SIGKILL and started again, after half of them the
bridge, after three quarters NATS. Meanwhile the worker handles what comes.
Then every message is followed to its end, and every permit is counted.

It needs Go, redis-server and rabbitmq-server (apt-get install redis-server
rabbitmq-server).

Exit code: 0 if all targets are met, 1 if not, 2 for wrong usage.

About two minutes; or to try it, in less than one:
  go run ./loadtest rabbitmq
  go run ./loadtest rabbitmq --messages 5000 --out /tmp

Flags:
`

// The types of queues.
const (
	classic = "classic"
	quorum  = "quorum"
)

// parseOptions reads the command line. Errors are program.ErrUsage, or flag.ErrHelp.
func parseOptions(args []string, stderr io.Writer) (options, error) {
	var o options
	f := flag.NewFlagSet("rabbitmq", flag.ContinueOnError)
	f.IntVar(&o.messages, "messages", 100_000, "messages in the queue")
	f.StringVar(&o.queue, "queue", quorum, "type of the queue: classic or quorum")
	f.BoolVar(&o.keep, "keep", false, "keep the files and logs of all processes, as a run that misses a target does")
	f.StringVar(&o.out, "out", "loadtest/report", "folder for the report, rabbitmq.md")
	f.StringVar(&o.root, "root", "", "the repository, for its commit (set by go run ./loadtest)")
	f.StringVar(&o.arrakis, "arrakis", "", "the arrakis binary (set by go run ./loadtest)")
	if err := program.Parse(f, help, args, stderr); err != nil {
		return o, err
	}
	wrong := func(format string, values ...any) (options, error) { return o, program.Wrong(format, values...) }
	o.line = program.Line(f)
	switch {
	case o.messages < 1_000 || o.messages > 1_000_000:
		return wrong("--messages is %d, want 1000 to 1000000", o.messages)
	case o.queue != classic && o.queue != quorum:
		return wrong("--queue is %q, want classic or quorum", o.queue)
	case o.arrakis == "":
		return wrong("--arrakis is missing: use go run ./loadtest rabbitmq")
	}
	return o, nil
}
