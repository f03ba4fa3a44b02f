package testserver

import (
	"errors"
	"fmt"
	"os/exec"
)

// process is a server that runs in a process of its own.
type process struct {
	cmd   *exec.Cmd
	log   Output        // what the process and its children write
	ended chan struct{} // closed when the process and all its children have ended
}

// startProcess starts the command and waits until ready returns nil. No process runs after an error.
func startProcess(cmd *exec.Cmd, ready func(pid int) error) (*process, error) {
	p := &process{cmd: cmd, ended: make(chan struct{})}
	cmd.Stdout, cmd.Stderr = &p.log, &p.log
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	go func() { // ends after kill
		_ = cmd.Wait() // for all who can write to the log; the error says "killed"
		close(p.ended)
	}()
	if err := p.await(ready); err != nil {
		p.kill()
		return nil, fmt.Errorf("%s: %w\n%s", cmd.Path, err, p.log.String())
	}
	return p, nil
}

// await waits until ready returns nil, or the process has ended.
func (p *process) await(ready func(pid int) error) (err error) {
	poll(func() bool {
		select {
		case <-p.ended:
			err = errors.New("the process has ended")
			return true
		default:
			err = ready(p.cmd.Process.Pid)
			return err == nil
		}
	})
	return err
}

// kill ends the process at once, as a crash does, and waits for its end.
func (p *process) kill() {
	_ = p.cmd.Process.Kill() // the process may have ended by itself
	<-p.ended
}
