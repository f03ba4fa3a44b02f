// Command faults runs arrakis while its servers, its workers and the network between them fail, and shows afterwards
// whether anything was lost or a limit exceeded. `go run ./loadtest faults` at the root of the repository builds and
// runs it; README.md in loadtest says what is done and how it is judged.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/redis/go-redis/v9/logging"

	"arrakis/loadtest/program"
)

func main() {
	os.Exit(dispatch(context.Background(), os.Args[1:], os.Stdout, os.Stderr))
}

var errFailed = errors.New("messages were lost, limits exceeded, or something else is wrong: see the table")

// dispatch makes the runs, or is one of the nats-servers, and returns the exit code.
func dispatch(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	return program.Dispatch("faults", args, stderr, func() error { return faultRuns(ctx, args, stdout, stderr) })
}

// faultRuns makes all runs and writes the report.
func faultRuns(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	o, err := parseOptions(args, stderr)
	if err != nil {
		return err
	}
	logging.Disable() // the client of Redis would tell of every fault
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	rep, p := newReport(ctx, o), program.NewProgress(stderr)
	for i := range o.runs {
		each := o
		each.seed += uint64(i)
		res, err := oneRun(ctx, each, p)
		if err != nil {
			return fmt.Errorf("seed %d: %w", each.seed, err)
		}
		rep.runs = append(rep.runs, res)
	}
	if err := rep.save(); err != nil {
		return err
	}
	if err := rep.write(stdout); err != nil {
		return err
	}
	for _, res := range rep.runs {
		if res.failed() {
			return errFailed
		}
	}
	return nil
}

// oneRun makes one run in a folder of its own, which it keeps if the run fails.
func oneRun(ctx context.Context, o options, p *program.Progress) (*result, error) {
	dir, err := os.MkdirTemp("", "arrakis-faults-")
	if err != nil {
		return nil, err
	}
	p.Say("seed %d: %d messages, %d faults, %d nats-server, %d workers; files in %s",
		o.seed, o.messages, o.faults, o.nodes, workers, dir)
	if faketime() == "" {
		p.Say("libfaketime is not installed: the clock of Redis is not stepped (apt-get install libfaketime)")
	}
	res, err := runOnce(ctx, o, dir, p)
	if err != nil {
		return nil, err
	}
	p.Say("seed %d: %d lost, %d over, %d repeats, in %v", o.seed,
		len(res.Messages.Lost), res.Windows.Over, res.Messages.Repeated, res.Took.Round(time.Second))
	if o.keep || res.failed() {
		res.Dir = dir
		return res, nil
	}
	return res, os.RemoveAll(dir)
}
