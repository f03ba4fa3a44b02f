// Command bench runs arrakis beside what would be used instead, on this machine, and reports how they compare. `go run
// ./loadtest bench` at the root of the repository builds and runs it; README.md in loadtest says what is measured and
// how.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"arrakis/loadtest/bench/contender"
	"arrakis/loadtest/program"
)

func main() {
	os.Exit(run(context.Background(), os.Args[1:], os.Stdout, os.Stderr))
}

// run runs the benchmark, or one of its own processes, and returns the exit code.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	return program.ExitCode("bench", dispatch(ctx, args, stdout, stderr), stderr)
}

// dispatch runs what the first argument names.
func dispatch(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	if len(args) > 1 && args[0] == "nats-server" {
		return program.NATSServer(args[1:])
	}
	if len(args) == 2 && args[0] == "contender" {
		var spec contender.Spec
		if err := json.Unmarshal([]byte(args[1]), &spec); err != nil {
			return fmt.Errorf("the contender's spec: %w", err)
		}
		return contender.Run(ctx, spec, os.Stdin, stdout)
	}
	o, err := parseOptions(args, stderr)
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	return benchmark(ctx, o, stdout, stderr)
}
