package main

import (
	"context"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"arrakis/loadtest/testserver"
)

func TestMain(m *testing.M) {
	if os.Getenv(asArrakis) != "" {
		main() // this test binary is the arrakis that a test has started as a process
	}
	testserver.WaitTogether()
	goleak.VerifyTestMain(testserver.M{M: m}, testserver.NATSLeaks()...)
}

// environment is a process's variables.
type environment map[string]string

func (e environment) lookup(name string) (string, bool) {
	value, set := e[name]
	return value, set
}

// result is what a command has printed, and its exit code.
type result struct {
	code           int
	stdout, stderr string
}

// arrakis runs a command to its end.
func arrakis(t *testing.T, env environment, args ...string) result {
	t.Helper()
	var stdout, stderr testserver.Output
	code := run(t.Context(), args, process{lookupEnv: env.lookup, stdout: &stdout, stderr: &stderr})
	return result{code, stdout.String(), stderr.String()}
}

// background is a command that runs until the test stops it.
type background struct {
	stdout, stderr testserver.Output
	stop           context.CancelFunc // as the first signal does
	code           chan int           // buffered by 1
	process        *os.Process        // of startProcess; nil for start
}

// start runs a command in the background and stops it when the test ends.
func start(t *testing.T, env environment, args ...string) *background {
	t.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	b := &background{stop: cancel, code: make(chan int, 1)}
	var wg sync.WaitGroup
	wg.Go(func() {
		b.code <- run(ctx, args, process{lookupEnv: env.lookup, stdout: &b.stdout, stderr: &b.stderr})
	})
	t.Cleanup(func() {
		cancel()
		wg.Wait()
		if t.Failed() {
			t.Logf("arrakis %s\n%s%s", strings.Join(args, " "), b.stdout.String(), b.stderr.String())
		}
	})
	return b
}

// exit waits for the end of the command.
func (b *background) exit(t *testing.T) int {
	t.Helper()
	select {
	case code := <-b.code:
		return code
	case <-time.After(testserver.Patience):
		t.Fatalf("the command has not ended within %v", testserver.Patience)
		return 0
	}
}

// shell runs a line as a person would who pastes it.
func shell(t *testing.T, line string) string {
	t.Helper()
	testserver.Program(t, "curl")
	// grep fails when it finds nothing, which the caller sees.
	out, _ := exec.CommandContext(t.Context(), "sh", "-c", line).CombinedOutput()
	return string(out)
}
