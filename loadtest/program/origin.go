package program

import (
	"bufio"
	"context"
	"os"
	"os/exec"
	"runtime"
	"strings"
)

// Commit is the commit of the repository in root, with a note if the files there are others, "" if it is not known. The
// reports do not count: a run writes one, and the next run is of the same source.
func Commit(ctx context.Context, root string) string {
	git := func(args ...string) string { return Output(ctx, "git", append([]string{"-C", root}, args...)...) }
	id := git("rev-parse", "--short=12", "HEAD")
	if id != "" && git("status", "--porcelain", "--", ":/", ":(top,exclude)loadtest/report") != "" {
		id += " with changes"
	}
	return id
}

// Processor is the model of the CPU.
func Processor(ctx context.Context) string {
	f, err := os.Open("/proc/cpuinfo")
	if err != nil {
		return Output(ctx, "sysctl", "-n", "machdep.cpu.brand_string")
	}
	defer func() { _ = f.Close() }() // only read
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if name, value, ok := strings.Cut(lines.Text(), ":"); ok && strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return runtime.GOARCH
}

// Output is the first line that a command prints, "" if it cannot be run.
func Output(ctx context.Context, name string, args ...string) string {
	out, err := exec.CommandContext(ctx, name, args...).Output() //nolint:gosec // constant commands
	if err != nil {
		return ""
	}
	first, _, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
	return first
}
