// Command loadtest builds and runs the benchmark of loadtest/bench, the fault runs of loadtest/faults, the interactions of
// loadtest/discord, the edits of loadtest/record, or the queue of loadtest/rabbitmq. The first two are modules of their own,
// so that arrakis does not depend on the alternatives that it is compared with, nor on what breaks its network:
//
//	go run ./loadtest bench [flags]
//	go run ./loadtest faults [flags]
//	go run ./loadtest discord [flags]
//	go run ./loadtest record [flags]
//	go run ./loadtest rabbitmq [flags]
//
// It needs Go and redis-server, record PostgreSQL too, and rabbitmq rabbitmq-server. It can be run in any folder of the repository.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

const usage = `usage: go run ./loadtest bench|faults|discord|record|rabbitmq [flags]

bench    runs arrakis and its alternatives on this machine, and prints a comparison
faults   runs arrakis while servers, workers and network fail, and shows whether
         anything was lost or a limit exceeded
discord  sends interactions as Discord does, while workers are killed, and shows
         how each was answered
record   changes tenants in PostgreSQL, and shows when a change is in force on
         every worker, and how long it takes to fill an empty Redis
rabbitmq drains a queue of RabbitMQ while RabbitMQ, the bridge and NATS are
         killed, and shows whether a message was lost or charged twice

go run ./loadtest bench --help lists the flags, and so do the others.
`

// programs can be run, by the name of their folder.
var programs = []string{"bench", "faults", "discord", "record", "rabbitmq"}

func main() {
	os.Exit(run(context.Background(), os.Args[1:], os.Stderr))
}

// run returns the exit code: the program's, 1 if it cannot be built, or 2 for wrong usage.
func run(ctx context.Context, args []string, stderr io.Writer) int {
	if len(args) == 0 || !slices.Contains(programs, args[0]) {
		_, _ = io.WriteString(stderr, usage)
		return 2
	}
	// The program gets the same signals and stops the processes that it has started.
	signals := make(chan os.Signal, 2) // room for two signals
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	defer signal.Stop(signals)
	err := runProgram(ctx, args, signals, stderr)
	var exit *exec.ExitError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &exit) && exit.Exited():
		return exit.ExitCode() // the program has printed the reason
	default:
		_, _ = fmt.Fprintln(stderr, "loadtest:", err)
		return 1
	}
}

// runProgram builds arrakis and the program that the first argument names, and runs the program.
func runProgram(ctx context.Context, args []string, signals <-chan os.Signal, stderr io.Writer) error {
	root, err := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}").Output()
	if err != nil {
		return fmt.Errorf("find the module: %w; run it inside the repository", err)
	}
	dir := strings.TrimSpace(string(root))
	built, err := os.MkdirTemp("", "arrakis-loadtest-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(built) }() // the system clears temporary files anyway
	_, _ = fmt.Fprintf(stderr, "building %s and arrakis: a minute the first time\n", args[0])
	program, arrakis := filepath.Join(built, args[0]), filepath.Join(built, "arrakis")
	for _, build := range []*exec.Cmd{
		exec.CommandContext(ctx, "go", "-C", filepath.Join(dir, "loadtest", args[0]), "build", "-o", program, "."), //nolint:gosec // this repository
		exec.CommandContext(ctx, "go", "-C", dir, "build", "-o", arrakis, "./cmd/arrakis"),                         //nolint:gosec // this repository
	} {
		build.Stdout, build.Stderr = stderr, stderr
		if err := forward(build, signals); err != nil {
			return fmt.Errorf("build: %w", err)
		}
	}
	cmd := exec.CommandContext(ctx, program, append([]string{"--root", dir, "--arrakis", arrakis}, args[1:]...)...) //nolint:gosec // just built
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, stderr
	return forward(cmd, signals)
}

// forward runs a command and passes signals on to it.
func forward(cmd *exec.Cmd, signals <-chan os.Signal) error {
	if err := cmd.Start(); err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }() // ends with the command, which is waited for below
	for {
		select {
		case err := <-ended:
			return err
		case s := <-signals:
			_ = cmd.Process.Signal(s) // the command may have ended just now
		}
	}
}
