package program

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"
)

// stopWithin is how long a process may take to end before it is killed: twice the SHUTDOWN_TIMEOUT of workers, because
// the machine is busy.
const stopWithin = 20 * time.Second

// Process is a program that is started, killed, frozen and started again, with the same arguments each time. What it
// writes goes to a file, one run behind the other. Its methods are safe for concurrent use.
type Process struct {
	// not changed after the first start
	Name string
	Path string
	Args []string
	Env  []string // beside that of this program
	Log  string   // file

	mu      sync.Mutex // protects the fields below
	cmd     *exec.Cmd  // the last one; nil before the first start
	ended   chan struct{}
	awaited bool          // the end of cmd was asked for
	pause   time.Duration // between its end and the next start, if it is supervised; 0 is restartAfter
	crashes []string      // ends that nobody has asked for
}

// Start starts the program, which must not be running.
func (p *Process) Start() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	out, err := os.OpenFile(p.Log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer func() { _ = out.Close() }()      // the child has it
	p.cmd = exec.Command(p.Path, p.Args...) //nolint:gosec // this program, arrakis or redis-server
	p.cmd.Env = append(os.Environ(), p.Env...)
	p.cmd.Stdout, p.cmd.Stderr = out, out
	p.cmd.SysProcAttr = OwnGroup()
	if err := p.cmd.Start(); err != nil {
		p.cmd = nil
		return fmt.Errorf("start %s: %w", p.Name, err)
	}
	cmd, ended := p.cmd, make(chan struct{})
	p.ended, p.awaited = ended, false
	go func() { // ends with the process, for which whoever starts one waits
		err := cmd.Wait()
		p.mu.Lock()
		defer p.mu.Unlock()
		if !p.awaited {
			p.crashes = append(p.crashes, fmt.Sprintf("%s ended by itself: %v; see %s", p.Name, err, p.Log))
		}
		close(ended)
	}()
	return nil
}

// signal sends a signal to the process. ending says that the process is expected to end by it.
func (p *Process) signal(s syscall.Signal, ending bool) (ended <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd == nil {
		closed := make(chan struct{})
		close(closed)
		return closed
	}
	select {
	case <-p.ended:
	default:
		p.awaited = p.awaited || ending
		_ = p.cmd.Process.Signal(s) // it may have ended just now
	}
	return p.ended
}

// Kill ends the process at once, as a crash of the machine does, and waits for its end.
func (p *Process) Kill() { <-p.signal(syscall.SIGKILL, true) }

// Freeze stops the process, with all its connections open, until [Process.Thaw].
func (p *Process) Freeze() { p.signal(syscall.SIGSTOP, false) }

// Thaw lets a frozen process go on.
func (p *Process) Thaw() { p.signal(syscall.SIGCONT, false) }

// Drain asks the process to end and waits for its end. One that does not end in time is killed, and is an error.
func (p *Process) Drain() error {
	select {
	case <-p.signal(syscall.SIGTERM, true):
		return nil
	case <-time.After(stopWithin):
		p.Kill()
		return fmt.Errorf("%s has not ended %v after SIGTERM", p.Name, stopWithin)
	}
}

// Down sets how long a supervised process stays down after its next end.
func (p *Process) Down(pause time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.pause = pause
}

// Supervise starts the process and starts it again whenever it has ended, until ctx ends. Then it drains the process.
func (p *Process) Supervise(ctx context.Context) error {
	for {
		if err := p.Start(); err != nil {
			return err
		}
		p.mu.Lock()
		ended := p.ended
		p.mu.Unlock()
		select {
		case <-ctx.Done():
			return p.Drain()
		case <-ended:
		}
		p.mu.Lock()
		pause := cmp.Or(p.pause, restartAfter)
		p.pause = 0
		p.mu.Unlock()
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(pause):
		}
	}
}

// restartAfter is how soon a process that has ended is started again, as an orchestrator does.
const restartAfter = 300 * time.Millisecond

// Unasked returns the ends that nobody has asked for.
func (p *Process) Unasked() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.crashes
}

// Poll calls check every 20 ms until it returns nil, or ctx ends. Its error has the last one of check before that.
func Poll(ctx context.Context, check func() error) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	var last error
	for {
		err := check()
		if err == nil {
			return nil
		}
		if ctx.Err() == nil || last == nil {
			last = err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", context.Cause(ctx), last)
		case <-tick.C:
		}
	}
}

// Pause waits. Its error is the cause of ctx's end.
func Pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(d):
		return nil
	}
}
