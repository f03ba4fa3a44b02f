package main

import (
	"context"
	"fmt"
	"io"
	"runtime"
	"strings"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"arrakis/loadtest/program"
)

// result is what a run has shown.
type result struct {
	Messages     int
	Kills        []strike
	Took         time.Duration // from the first bridge's start to the last one's end
	Bridge       bridgeCounts  // of the last bridge
	BridgeFailed string        // "" if it ended with 0

	Stored      int // by the stream, in all
	Lost        int // never handled
	Repeats     int // runs of handlers beyond the first of a message
	Strangers   int // event IDs that no message has
	Permits     int
	DeadLetters int
	Left        int // in the queue
}

// strike is one kill.
type strike struct {
	Name   string
	Stored int // messages that were stored then
}

// bridgeCounts are what the bridge prints.
type bridgeCounts struct {
	Delivered    int  `json:"delivered"`
	Redelivered  int  `json:"redelivered"`
	Acknowledged int  `json:"acknowledged"`
	Stored       int  `json:"stored"`
	Duplicates   int  `json:"duplicates"`
	Reconnects   int  `json:"reconnects"`
	Empty        bool `json:"empty"`
	Match        bool `json:"match"`
}

// targets are those of the run.
func (r *result) targets(o options) []program.Target {
	early := 0
	for _, k := range r.Kills {
		if k.Stored < o.messages {
			early++
		}
	}
	bridge := program.Target{Name: "the last bridge: exit code 0, queue empty, both sides agree", Want: "yes", Got: "yes", Met: true}
	if r.BridgeFailed != "" || !r.Bridge.Empty || !r.Bridge.Match {
		bridge.Got, bridge.Met = strings.TrimSpace("no "+r.BridgeFailed), false
	}
	return []program.Target{
		program.Exactly("killed in the middle: RabbitMQ, the bridge, NATS", early, 3),
		program.None("lost: messages that no handler has run for", r.Lost),
		program.Exactly("permits: each message is charged once", r.Permits, r.Messages),
		program.None("event IDs that no message has", r.Strangers),
		program.None("dead letters", r.DeadLetters),
		program.None("left in RabbitMQ", r.Left),
		bridge,
	}
}

// report is what a run has shown, and where.
type report struct {
	program.Report
	Result *result

	o options
}

func newReport(ctx context.Context, o options) *report {
	return &report{Report: program.NewReport(ctx, o.line, o.root), o: o}
}

// save writes the report to its file.
func (r *report) save() error { return program.SaveReport(r.o.out, "rabbitmq.md", r.write) }

// write writes the report as Markdown.
func (r *report) write(w io.Writer) error {
	p := &program.Printer{W: w}
	r.Head(p, "A queue of RabbitMQ, drained", fmt.Sprintf("%s, nats-server %s; a %s queue", runtime.Version(), server.VERSION, r.o.queue), "a-queue-of-rabbitmq")
	p.Line("")
	s := r.Result
	rows := [][]string{{"messages", ""}}
	add := func(name string, n any) { rows = append(rows, []string{name, fmt.Sprint(n)}) }
	add("in the queue", s.Messages)
	for _, k := range s.Kills {
		add("stored when "+k.Name+" was killed", k.Stored)
	}
	add("stored in all: what came again later than JetStream remembers is stored twice", s.Stored)
	add("handlers run again", s.Repeats)
	add("the last bridge: delivered to it", s.Bridge.Delivered)
	add("the last bridge: of these, delivered before", s.Bridge.Redelivered)
	add("the last bridge: stored before", s.Bridge.Duplicates)
	add("time from the first bridge's start to the last one's end, with its 5 s idle", s.Took.Round(100*time.Millisecond))
	p.Table(rows)
	if r.Dir != "" {
		p.Line("")
		p.Line("Files and logs are in %s.", r.Dir)
	}
	return p.Err
}
