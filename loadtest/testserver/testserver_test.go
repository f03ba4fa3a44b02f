package testserver_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"arrakis/loadtest/testserver"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(testserver.M{M: m}) }

// trial is a test that may fail and be skipped while the test around it passes.
type trial struct {
	testing.TB
	failed, skipped string // the messages
}

func (r *trial) Helper() {}

func (r *trial) Error(args ...any) { r.failed += fmt.Sprintln(args...) }

func (r *trial) Errorf(format string, args ...any) { r.Error(fmt.Sprintf(format, args...)) }

func (r *trial) Fatal(args ...any) {
	r.Error(args...)
	runtime.Goexit()
}

func (r *trial) Fatalf(format string, args ...any) {
	r.Error(fmt.Sprintf(format, args...))
	runtime.Goexit()
}

func (r *trial) Skipf(format string, args ...any) {
	r.skipped = fmt.Sprintf(format, args...)
	runtime.Goexit()
}

// try runs f as a test of its own.
func try(tb testing.TB, f func(tb testing.TB)) *trial {
	tb.Helper()
	r := &trial{TB: tb}
	done := make(chan struct{})
	go func() {
		defer close(done)
		f(r)
	}()
	<-done
	return r
}

func TestMissingProgram(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	start := func(tb testing.TB) {
		tb.Helper()
		testserver.Redis(tb)
	}
	t.Setenv("CI", "")
	if r := try(t, start); r.failed != "" || !strings.Contains(r.skipped, "redis-server is not installed") {
		t.Errorf("at home: failed with %q, skipped with %q", r.failed, r.skipped)
	}
	t.Setenv("CI", "true")
	if r := try(t, start); r.skipped != "" || !strings.Contains(r.failed, "redis-server is not installed") {
		t.Errorf("with CI: failed with %q, skipped with %q", r.failed, r.skipped)
	}
}

// TestProgramOffThePath: Debian has the programs of PostgreSQL in a directory that is not on the PATH.
func TestProgramOffThePath(t *testing.T) {
	none, one, other := t.TempDir(), t.TempDir(), t.TempDir()
	for _, dir := range []string{one, other} {
		if err := os.WriteFile(filepath.Join(dir, "postgres"), nil, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("PATH", other)
	if got, want := testserver.Program(t, "postgres", none, one, other), filepath.Join(one, "postgres"); got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

func TestFixtures(t *testing.T) {
	t.Parallel()
	if n := len(testserver.Fixtures(t, "good")["member-join.json"]); n == 0 {
		t.Error("no good fixture")
	}
	if _, ok := testserver.Fixtures(t, "bad")["empty.txt"]; !ok {
		t.Error("no bad fixture")
	}
	if r := try(t, func(tb testing.TB) { testserver.Fixtures(tb, "ugly") }); !strings.Contains(r.failed, "ugly") {
		t.Errorf("of none: %q", r.failed)
	}
}

// TestDeps: outside of tests, only the load tests may import this package, and it imports nothing of the project, so
// that every package's tests can import it.
func TestDeps(t *testing.T) {
	t.Parallel()
	const own = "arrakis/loadtest/testserver"
	out, err := exec.Command("go", "list", "-f", `{{.ImportPath}}{{range .Imports}} {{.}}{{end}}`, "arrakis/...").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	for line := range strings.Lines(string(out)) {
		imports := strings.Fields(line)
		for _, i := range imports[1:] {
			switch {
			case i == own && !strings.HasPrefix(imports[0], "arrakis/loadtest"):
				t.Errorf("%s imports %s, which is for tests", imports[0], i)
			case imports[0] == own && strings.HasPrefix(i, "arrakis/"):
				t.Errorf("%s imports %s: the tests of that could not import it", own, i)
			}
		}
	}
}
