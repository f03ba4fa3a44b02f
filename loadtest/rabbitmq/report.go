package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
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
	Command, Commit, Machine string
	Busy                     string // load average of the machine when the run began
	Date                     time.Time
	Targets                  []program.Target
	Result                   *result
	Dir                      string // files, if they were kept

	o options
}

func newReport(ctx context.Context, o options) *report {
	return &report{
		Command: o.line, Commit: cmp.Or(program.Commit(ctx, o.root), "unknown"), Date: time.Now(), Machine: program.Machine(ctx), Busy: program.Busy(), o: o,
	}
}

// failed reports whether a target is missed.
func (r *report) failed() bool {
	for _, t := range r.Targets {
		if !t.Met {
			return true
		}
	}
	return false
}

// save writes the report to its file.
func (r *report) save() error {
	if err := os.MkdirAll(r.o.out, 0o755); err != nil { //nolint:gosec // to be read by all
		return err
	}
	var b strings.Builder
	if err := r.write(&b); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(r.o.out, "rabbitmq.md"), []byte(b.String()), 0o644) //nolint:gosec // to be read by all
}

// write writes the report as Markdown.
func (r *report) write(w io.Writer) error {
	p := &program.Printer{W: w}
	p.Line("# A queue of RabbitMQ, drained")
	p.Line("")
	p.Line("`%s` at commit %s, %s.", r.Command, r.Commit, r.Date.UTC().Format("2006-01-02 15:04 UTC"))
	p.Line("%s; load average %s when it began; %s, nats-server %s; a %s queue.", r.Machine, r.Busy, runtime.Version(), server.VERSION, r.o.queue)
	p.Line("What the rows mean is in [loadtest/README.md](../README.md#a-queue-of-rabbitmq).")
	p.Line("")
	rows := [][]string{{"target", "want", "got", ""}}
	for _, t := range r.Targets {
		rows = append(rows, []string{t.Name, t.Want, t.Got, t.Result()})
	}
	p.Table(rows)
	p.Line("")
	s := r.Result
	rows = [][]string{{"messages", ""}}
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
