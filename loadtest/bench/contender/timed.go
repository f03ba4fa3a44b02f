package contender

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"arrakis/loadtest/bench/workload"
	"arrakis/pipeline"
)

// Call is a quiet message that was handled.
type Call struct {
	Due   int64 // when it was to be published, unix µs
	Ended int64 // when its handler ended, unix µs
}

// timedCommands are those that timed messages have.
var timedCommands = []string{workload.Quiet, workload.Slow, workload.Failing, workload.Panicking}

// errAsked is the failure of the handler that always fails.
var errAsked = errors.New("fails, as it was asked to")

// perform is the handler of all contenders for messages that are not all alike.
func (e *env) perform(ctx context.Context, command, community string, due int64) error {
	switch command {
	case workload.Quiet:
		call := Call{Due: due, Ended: time.Now().UnixMicro()}
		e.mu.Lock()
		e.calls = append(e.calls, call)
		e.mu.Unlock()
	case workload.Slow:
		if err := e.sleep(ctx, community); err != nil {
			return err
		}
	case workload.Failing:
		return errAsked
	case workload.Panicking:
		panic("as it was asked to")
	}
	return e.handle(community)
}

// sleep takes workload.SlowTime, which it adds to the community's handler time.
func (e *env) sleep(ctx context.Context, community string) error {
	i, err := workload.Index(community)
	if err != nil {
		return err
	}
	began := time.Now()
	timer := time.NewTimer(workload.SlowTime)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	e.busy[i].Add(int64(time.Since(began)))
	return nil
}

// performTimed is perform for arrakis.
func (e *env) performTimed(ctx context.Context, m *pipeline.Message) (any, error) {
	var data struct{ Options workload.Options }
	if err := json.Unmarshal(m.Data, &data); err != nil {
		return nil, err
	}
	return nil, e.perform(ctx, m.Command, m.Community, data.Options.Due)
}

// takeCalls returns the calls since it was asked before.
func (e *env) takeCalls() []Call {
	e.mu.Lock()
	defer e.mu.Unlock()
	calls := e.calls
	e.calls = nil
	return calls
}
