package program_test

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
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

// A free address stays free for the server that it is meant for, which may be started again: nobody who asks for any
// free port gets it meanwhile.
func TestFreeAddrIsKept(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("only Linux holds a port for a server that does not listen yet")
	}
	addr, err := program.FreeAddr()
	if err != nil {
		t.Fatal(err)
	}
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		t.Fatal(err)
	}
	// What nobody holds is given to one who asks for exactly this port without SO_REUSEADDR.
	number, err := strconv.Atoi(port)
	if err != nil {
		t.Fatal(err)
	}
	if err := bindAlone(t, number); err == nil {
		t.Errorf("%s is free for anybody", addr)
	}
	for range 2 {
		l, err := net.Listen("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// bindAlone binds a port of the loopback interface as the kernel does for who asks for any: not beside another socket.
func bindAlone(t *testing.T, port int) error {
	t.Helper()
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer syscall.Close(fd) //nolint:errcheck // nothing was sent
	return syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}, Port: port})
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
