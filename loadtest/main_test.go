package main

import (
	"bufio"
	"bytes"
	"errors"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestUsage(t *testing.T) {
	for _, args := range [][]string{nil, {"k6"}} {
		var stderr bytes.Buffer
		if code := run(t.Context(), args, &stderr); code != 2 {
			t.Errorf("%v: exit code %d, want 2", args, code)
		}
		if !strings.Contains(stderr.String(), "go run ./loadtest bench|faults|discord|record|rabbitmq") {
			t.Errorf("%v: says %q", args, stderr.String())
		}
	}
}

// A signal goes to the command, which decides what to do with it.
func TestForwardPassesSignalsOn(t *testing.T) {
	cmd := exec.CommandContext(t.Context(), "sh", "-c", `trap 'exit 7' TERM; echo ready; while :; do read line; done`)
	stdin, closeStdin, err := os.Pipe() // never written: the shell waits
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = errors.Join(stdin.Close(), closeStdin.Close()) }() // both are only waited on
	cmd.Stdin = stdin
	ready, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	signals, ended := make(chan os.Signal, 1), make(chan error, 1)
	go func() { ended <- forward(cmd, signals) }()
	if line, err := bufio.NewReader(ready).ReadString('\n'); line != "ready\n" {
		t.Fatalf("the command says %q (%v)", line, err)
	}
	signals <- syscall.SIGTERM
	var exit *exec.ExitError
	if err := <-ended; !errors.As(err, &exit) || exit.ExitCode() != 7 {
		t.Errorf("ended with %v, want exit status 7", err)
	}
}
