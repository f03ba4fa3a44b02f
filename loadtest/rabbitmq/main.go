// Command rabbitmq drains a queue of RabbitMQ with `arrakis drain rabbitmq`, while RabbitMQ, the bridge and NATS are each
// killed once, and shows whether a message was lost or charged twice. `go run ./loadtest rabbitmq` at the root of the
// repository builds and runs it; README.md in loadtest says what is done and how it is judged.
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
	return program.Dispatch("rabbitmq", args, stderr, func() error { return run(ctx, args, stdout, stderr) })
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
	dir, err := os.MkdirTemp("", "arrakis-rabbitmq-")
	if err != nil {
		return err
	}
	rep := newReport(ctx, o)
	p := program.NewProgress(stderr)
	p.Say("files are in %s", dir)
	if rep.Result, err = drain(ctx, o, dir, p); err != nil {
		return fmt.Errorf("%w; files and logs are in %s", err, dir)
	}
	rep.Targets = rep.Result.targets(o)
	if err := rep.Keep(dir, o.keep); err != nil {
		return err
	}
	if err := errors.Join(rep.save(), rep.write(stdout)); err != nil {
		return err
	}
	if rep.Failed() {
		return errMissed
	}
	return nil
}
