package report

import (
	"context"
	"runtime"

	"arrakis/loadtest/program"
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
	return Machine{
		CPU: program.Processor(ctx), Cores: runtime.NumCPU(), Go: runtime.Version(),
		System: program.Output(ctx, "uname", "-srm"), Commit: program.Commit(ctx, root),
	}
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
