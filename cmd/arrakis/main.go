// Command arrakis stands between NATS and the code that handles commands of a multi-tenant bot or SaaS. `arrakis dev`
// runs all of it in one process with nothing else installed; `arrakis serve` is production. Run `arrakis
// --help`.
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

	"github.com/redis/go-redis/v9"
)

// discard is a logger for go-redis that drops every line.
type discard struct{}

func (discard) Printf(context.Context, string, ...any) {}

func main() {
	// go-redis would also write its errors to standard error.
	redis.SetLogger(discard{})
	// Room for two kinds of signals that come at once.
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	os.Exit(interruptible(signals, os.Stderr, func(ctx context.Context) int {
		return run(ctx, os.Args[1:], process{
			lookupEnv: os.LookupEnv, stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr, ask: asker(os.Stdin, os.Stderr),
		})
	}))
}

// process is the part of the operating system's process that a command may use.
type process struct {
	lookupEnv func(name string) (value string, set bool)
	stdin     io.Reader // nil: none
	stdout    io.Writer
	stderr    io.Writer
	ask       func(question string) (yes bool, err error) // nil: nobody can be asked
}

// openInput opens a file, or standard input for -. The caller closes it.
func (p process) openInput(file string) (io.ReadCloser, error) {
	switch {
	case file != "-":
		return os.Open(file) //nolint:gosec // whoever runs the command names the file
	case p.stdin == nil:
		return nil, errors.New("there is no standard input")
	default:
		return io.NopCloser(p.stdin), nil
	}
}

// sameSignal is the time within which a signal of the kind of the first is the first, sent twice. timeout(1) signals
// the process and then its group, so the process gets two; a supervisor and a terminal can do the same. Nobody who has
// seen the drain and does not want to wait for it is as fast.
const sameSignal = 500 * time.Millisecond

// interruptible runs f and returns its exit code. The first signal ends f's context, which begins a drain; after the
// second, see sameSignal, it returns 1 without waiting for f.
func interruptible(signals <-chan os.Signal, stderr io.Writer, f func(ctx context.Context) int) int {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	code := make(chan int, 1)
	// After the second signal the process ends while f runs, without waiting for f.
	go func() { code <- f(ctx) }()
	var first os.Signal
	var came time.Time
	for {
		select {
		case c := <-code:
			return c
		case s := <-signals:
			switch {
			case first == nil:
				first, came = s, time.Now()
				cancel()
			case s != first || time.Since(came) >= sameSignal:
				_, _ = fmt.Fprintf(stderr, "arrakis: second signal (%s): ending without waiting for messages in flight\n", s)
				return exitFailed
			}
		}
	}
}
