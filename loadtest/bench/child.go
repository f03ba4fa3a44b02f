package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"

	"arrakis/loadtest/bench/contender"
)

// gcPercent is what arrakis sets for itself; all contenders get the same.
const gcPercent = "400"

// child is a contender in a process of its own. It is used by one goroutine.
type child struct {
	name    contender.Name
	addr    string // where it serves HTTP; "" if it does not
	cmd     *exec.Cmd
	said    *tail
	in      io.WriteCloser
	answers *json.Decoder
}

// startChild starts a contender and returns when it is ready.
func startChild(ctx context.Context, spec contender.Spec) (*child, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	arg, err := json.Marshal(spec)
	if err != nil {
		return nil, err
	}
	c := &child{name: spec.Contender}
	c.cmd, c.said = newProcess(ctx, self, "contender", string(arg))
	c.cmd.Env = append([]string{"GOGC=" + gcPercent}, os.Environ()...) // a GOGC of the caller's comes later and wins
	if c.in, err = c.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	c.answers = json.NewDecoder(out)
	if err := c.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", c.name, err)
	}
	var ready contender.Ready
	if err := c.answers.Decode(&ready); err != nil {
		return nil, c.failed(err)
	}
	c.addr = ready.Addr
	return c, nil
}

// ask sends a command and returns its answer.
func (c *child) ask(command contender.Command) (contender.Usage, error) {
	var u contender.Usage
	if _, err := fmt.Fprintln(c.in, command); err != nil {
		return u, c.failed(err)
	}
	if err := c.answers.Decode(&u); err != nil {
		return u, c.failed(err)
	}
	return u, nil
}

// stop lets the contender end and returns its result.
func (c *child) stop() (contender.Result, error) {
	var r contender.Result
	if err := c.in.Close(); err != nil {
		return r, c.failed(err)
	}
	if err := c.answers.Decode(&r); err != nil {
		return r, c.failed(err)
	}
	if err := c.cmd.Wait(); err != nil {
		return r, c.said.explain(fmt.Errorf("%s: %w", c.name, err))
	}
	return r, nil
}

// failed ends the contender and says why it is of no use.
func (c *child) failed(err error) error {
	c.kill()
	return c.said.explain(fmt.Errorf("%s: %w", c.name, err))
}

// kill ends the contender at once, if it has not ended.
func (c *child) kill() {
	if c.cmd.ProcessState == nil {
		_ = c.cmd.Process.Kill() // it may have ended by itself
		_ = c.cmd.Wait()         // it was killed
	}
}
