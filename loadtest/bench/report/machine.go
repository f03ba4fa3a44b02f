package report

import (
	"bufio"
	"context"
	"os"
	"os/exec"
	"runtime"
	"strings"
)

// Machine is where and from what a report was made.
type Machine struct {
	CPU    string
	Cores  int
	System string // kernel
	Go     string
	Redis  string
	NATS   string
	Commit string
	Date   string
	Line   string // the command that was given
}

// Local is this machine and the source in root, without the servers' versions.
func Local(ctx context.Context, root string) Machine {
	m := Machine{
		CPU: processor(ctx), Cores: runtime.NumCPU(), Go: runtime.Version(),
		System: output(ctx, "uname", "-srm"), Commit: output(ctx, "git", "-C", root, "rev-parse", "--short=12", "HEAD"),
	}
	if m.Commit != "" && output(ctx, "git", "-C", root, "status", "--porcelain") != "" {
		m.Commit += ", with changes"
	}
	return m
}

// output is the first line that a command prints, "" if it cannot be run.
func output(ctx context.Context, name string, args ...string) string {
	out, err := exec.CommandContext(ctx, name, args...).Output() //nolint:gosec // constant commands
	if err != nil {
		return ""
	}
	first, _, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
	return first
}

// processor is the model of the CPU.
func processor(ctx context.Context) string {
	f, err := os.Open("/proc/cpuinfo")
	if err != nil {
		return output(ctx, "sysctl", "-n", "machdep.cpu.brand_string")
	}
	defer func() { _ = f.Close() }() // only read
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if name, value, ok := strings.Cut(lines.Text(), ":"); ok && strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return runtime.GOARCH
}

// table shows the machine.
func (m *Machine) table() *Table {
	t := &Table{Title: "Where", Columns: []string{"", ""}}
	for _, row := range [][]string{
		{"command", "`" + m.Line + "`"},
		{"date", m.Date},
		{"commit", m.Commit},
		{"CPU", m.CPU},
		{"cores", Count(float64(m.Cores))},
		{"kernel", m.System},
		{"Go", m.Go},
		{"nats-server", m.NATS},
		{"redis-server", m.Redis},
	} {
		t.Add(row...)
	}
	return t
}
