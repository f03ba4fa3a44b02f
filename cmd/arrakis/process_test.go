package main

import (
	"bytes"
	"context"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"
)

var update = flag.Bool("update", false, "write the golden files")

func TestMain(m *testing.M) {
	if os.Getenv(asArrakis) != "" {
		main() // this test binary is the arrakis that a test has started as a process
	}
	redis.SetLogger(discard{})
	goleak.VerifyTestMain(m)
}

// safeBuffer takes what a process writes while a test reads it.
type safeBuffer struct {
	mu sync.Mutex // protects b
	b  bytes.Buffer
}

func (s *safeBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *safeBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
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
	var stdout, stderr safeBuffer
	code := run(t.Context(), args, process{lookupEnv: env.lookup, stdout: &stdout, stderr: &stderr})
	return result{code, stdout.String(), stderr.String()}
}

// background is a command that runs until the test stops it.
type background struct {
	stdout, stderr safeBuffer
	stop           context.CancelFunc // as the first signal does
	code           chan int           // buffered by 1
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
	case <-time.After(time.Minute):
		t.Fatal("the command has not ended after a minute")
		return 0
	}
}

// eventually polls until ok, for at most a minute.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.After(time.Minute)
	ticker := time.NewTicker(5 * time.Millisecond)
	defer ticker.Stop()
	for !ok() {
		select {
		case <-deadline:
			t.Fatalf("not within a minute: %s", what)
		case <-ticker.C:
		}
	}
}

// golden compares got with a file in testdata, or writes it with -update.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatalf("%v; run the test with -update", err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got); run the test with -update if this is meant\n%s", path, diff)
	}
}

// shell runs a line as a person would who pastes it.
func shell(t *testing.T, line string) string {
	t.Helper()
	if _, err := exec.LookPath("curl"); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	// grep fails when it finds nothing, which the caller sees.
	out, _ := exec.CommandContext(t.Context(), "sh", "-c", line).CombinedOutput()
	return string(out)
}
