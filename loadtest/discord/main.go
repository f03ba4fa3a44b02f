// Command discord sends signed interactions to arrakis as Discord does, while workers are killed, and shows how each of
// them was answered. `go run ./loadtest discord` at the root of the repository builds and runs it; README.md in loadtest
// says what is done and how it is judged.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"runtime/debug"
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
	return program.Dispatch("discord", args, stderr, func() error { return run(ctx, args, stdout, stderr) })
}

// run makes a run and writes the report.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	o, err := parseOptions(args, stderr)
	if err != nil {
		return err
	}
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(400) // as in the workers: the load must not be what is slow
	}
	logging.Disable() // the client of Redis would tell that the server is not up yet
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	dir, err := os.MkdirTemp("", "arrakis-discord-")
	if err != nil {
		return err
	}
	rep, p := newReport(ctx, o), program.NewProgress(stderr)
	if err := rep.sections(ctx, dir, p); err != nil {
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

// sections runs the sections that are asked for, each with files of its own.
func (r *report) sections(ctx context.Context, dir string, p *program.Progress) (err error) {
	folder := func(section string) (string, error) {
		sub := filepath.Join(dir, section)
		return sub, os.Mkdir(sub, 0o700)
	}
	if r.o.does(sectionLoad) {
		sub, err := folder(sectionLoad)
		if err != nil {
			return err
		}
		p.Say("load: %d interactions a second for %v, which are made and signed first; files in %s", r.o.rate, r.o.duration, sub)
		if r.Load, err = runLoad(ctx, r.o, sub, p); err != nil {
			return err
		}
	}
	if r.o.does(sectionFlood) {
		sub, err := folder(sectionFlood)
		if err != nil {
			return err
		}
		p.Say("flood: %d interactions of one guild; files in %s", r.o.flood, sub)
		if r.Flood, err = runFlood(ctx, r.o, sub); err != nil {
			return err
		}
	}
	return nil
}
