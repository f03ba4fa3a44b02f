package program_test

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"arrakis/loadtest/program"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestExitCode(t *testing.T) {
	for _, c := range []struct {
		err  error
		code int
		says string
	}{
		{nil, 0, ""},
		{flag.ErrHelp, 0, ""},
		{fmt.Errorf("%w: --runs is 0", program.ErrUsage), 2, "wrong usage: --runs is 0\n"},
		{errors.New("no room"), 1, "bench: no room\n"},
	} {
		var stderr bytes.Buffer
		if code := program.ExitCode("bench", c.err, &stderr); code != c.code || stderr.String() != c.says {
			t.Errorf("%v: code %d and %q, want %d and %q", c.err, code, stderr.String(), c.code, c.says)
		}
	}
}

// The line of a report can be pasted into a shell, and has nothing of what go run ./loadtest adds.
func TestLine(t *testing.T) {
	f := flag.NewFlagSet("faults", flag.ContinueOnError)
	for _, name := range []string{"arrakis", "only", "out", "root", "runs"} {
		f.String(name, "", "")
	}
	if err := f.Parse([]string{"--root", "/src", "--runs", "3", "--arrakis=/bin/arrakis", "--only=worker killed,stream full"}); err != nil {
		t.Fatal(err)
	}
	if got, want := program.Line(f), `go run ./loadtest faults --only="worker killed,stream full" --runs=3`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestFreeAddrsAreDifferent(t *testing.T) {
	addrs, err := program.FreeAddrs(20)
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(addrs)
	if n := len(slices.Compact(addrs)); n != 20 {
		t.Errorf("%d different addresses of 20", n)
	}
}

// A report of a changed source says so, and one of a source of which only the reports have changed does not.
func TestCommit(t *testing.T) {
	dir := t.TempDir()
	if id := program.Commit(t.Context(), dir); id != "" {
		t.Fatalf("a folder without a repository has the commit %q", id)
	}
	t.Setenv("GIT_CONFIG_GLOBAL", os.DevNull)
	write := func(name string) {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o750), os.WriteFile(path, nil, 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	program.Output(t.Context(), "git", "-C", dir, "init")
	program.Output(t.Context(), "git", "-C", dir, "-c", "user.name=a", "-c", "user.email=a@b", "commit", "--allow-empty", "-m", "first")
	write("loadtest/report/report.md")
	id := program.Commit(t.Context(), filepath.Join(dir, "loadtest"))
	if len(id) != 12 {
		t.Errorf("a new report: %q, want a commit of 12 digits", id)
	}
	write("main.go")
	if changed := program.Commit(t.Context(), filepath.Join(dir, "loadtest")); changed != id+" with changes" || strings.Contains(id, " ") {
		t.Errorf("a new file: %q", changed)
	}
	if err := os.WriteFile(filepath.Join(dir, ".git", "index"), []byte("no index"), 0o600); err != nil {
		t.Fatal(err)
	}
	if unknown := program.Commit(t.Context(), dir); unknown != id+", perhaps with changes" {
		t.Errorf("a repository whose status git cannot tell: %q", unknown)
	}
	t.Chdir(dir)
	if unknown := program.Commit(t.Context(), ""); unknown != "" {
		t.Errorf("no folder: %q, want none, and not the commit of the working directory", unknown)
	}
}
