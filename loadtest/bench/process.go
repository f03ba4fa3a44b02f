package main

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"arrakis/loadtest/program"
)

// stopWithin is how long a process may take to end before it is killed.
const stopWithin = 20 * time.Second

// newProcess prepares a process that ends with ctx. What it writes to its standard error is kept for errors.
func newProcess(ctx context.Context, name string, args ...string) (*exec.Cmd, *tail) {
	cmd := exec.CommandContext(ctx, name, args...) //nolint:gosec // this program itself, arrakis, or redis-server
	cmd.SysProcAttr = program.OwnGroup()
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = stopWithin
	said := &tail{}
	cmd.Stderr = said
	return cmd, said
}

// tail keeps the last of what is written to it. It is read once the process that writes has ended.
type tail struct{ buf bytes.Buffer }

// Write implements io.Writer.
func (t *tail) Write(p []byte) (int, error) {
	const most = 4 << 10
	t.buf.Write(p)
	if over := t.buf.Len() - most; over > 0 {
		t.buf.Next(over)
	}
	return len(p), nil
}

// explain adds to err what the process has said.
func (t *tail) explain(err error) error {
	if said := strings.TrimSpace(t.buf.String()); err != nil && said != "" {
		return fmt.Errorf("%w: %s", err, said)
	}
	return err
}

// poll calls check until it reports true or fails, or ctx ends.
func poll(ctx context.Context, every time.Duration, check func() (bool, error)) error {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		if done, err := check(); done || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-tick.C:
		}
	}
}
