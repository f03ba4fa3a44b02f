package program

import (
	"bufio"
	"cmp"
	"context"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
)

// Commit is the commit of the repository in root, with a note if the files there are others or if that cannot be told,
// "" if it is not known. The reports do not count: a run writes one, and the next run is of the same source.
func Commit(ctx context.Context, root string) string {
	if root == "" {
		return "" // git would take the working directory
	}
	id, err := output(ctx, "git", "-C", root, "rev-parse", "--short=12", "HEAD")
	if err != nil {
		return ""
	}
	changes, err := output(ctx, "git", "-C", root, "status", "--porcelain", "--", ":/", ":(top,exclude)loadtest/report")
	switch {
	case err != nil:
		return id + ", perhaps with changes"
	case changes != "":
		return id + " with changes"
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

// Machine is the machine's processors, memory and system.
func Machine(ctx context.Context) string {
	m := fmt.Sprintf("%d x %s", runtime.NumCPU(), Processor(ctx))
	for _, line := range lines("/proc/meminfo") {
		var kB int
		if _, err := fmt.Sscanf(line, "MemTotal: %d kB", &kB); err == nil {
			m += fmt.Sprintf(", %.0f GiB", float64(kB)/(1<<20))
		}
	}
	return m + ", " + runtime.GOOS
}

// lines are the lines of a file, none if there is no such file.
func lines(name string) []string {
	data, err := os.ReadFile(name) //nolint:gosec // a file of the system
	if err != nil {
		return nil
	}
	return strings.Split(string(data), "\n")
}

// Output is the first line that a command prints, "" if it fails.
func Output(ctx context.Context, name string, args ...string) string {
	first, err := output(ctx, name, args...)
	if err != nil {
		return ""
	}
	return first
}

func output(ctx context.Context, name string, args ...string) (first string, err error) {
	out, err := exec.CommandContext(ctx, name, args...).Output() //nolint:gosec // constant commands
	first, _, _ = strings.Cut(strings.TrimSpace(string(out)), "\n")
	return first, err
}

// Busy is the machine's load average of the last minute, "unknown" where it is not to be had.
func Busy() string {
	text, _ := os.ReadFile("/proc/loadavg") // nothing if it is not there
	first, _, _ := strings.Cut(string(text), " ")
	return cmp.Or(first, "unknown")
}
