// Command record changes tenants in PostgreSQL while three workers run, and shows how long it takes until a change is in
// force on all of them, and until a Redis that has lost everything is filled again. `go run ./loadtest record` at the root of
// the repository builds and runs it; README.md in loadtest says what is done and how it is judged.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/redis/go-redis/v9/logging"

	"arrakis/loadtest/program"
)

func main() {
	os.Exit(dispatch(context.Background(), os.Args[1:], os.Stdout, os.Stderr))
}

var errMissed = errors.New("a target is missed: see the table")

// dispatch makes the run, or is its nats-server, and returns the exit code.
func dispatch(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	return program.Dispatch("record", args, stderr, func() error { return run(ctx, args, stdout, stderr) })
}

// run makes a run and writes the report.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	o, err := parseOptions(args, stderr)
	if err != nil {
		return err
	}
	logging.Disable() // the client of Redis would tell that the server is not up yet
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	dir, err := os.MkdirTemp("", "arrakis-record-")
	if err != nil {
		return err
	}
	rep, p := newReport(ctx, o), program.NewProgress(stderr)
	if err := rep.measure(ctx, dir, p); err != nil {
		return fmt.Errorf("%w; files and logs are in %s", err, dir)
	}
	rep.judge()
	if err := rep.Keep(dir, o.keep); err != nil {
		return err
	}
	if err := errors.Join(rep.save(), rep.print(stdout)); err != nil {
		return err
	}
	if rep.Failed() {
		return errMissed
	}
	return nil
}

// measure starts everything, and measures.
func (r *report) measure(ctx context.Context, dir string, p *program.Progress) (err error) {
	s, err := startSite(ctx, r.o, dir)
	defer func() { err = errors.Join(err, s.close()) }()
	if err != nil {
		return err
	}
	p.Say("edits: %d a second for %v", r.o.rate, r.o.duration)
	if r.Edits, err = s.runEdits(ctx, r.o, p); err != nil {
		return err
	}
	p.Say("rebuild: %d tenants", r.o.tenants)
	r.Rebuild, err = s.runRebuild(ctx, r.o)
	r.Crashes = s.crashes()
	return err
}
