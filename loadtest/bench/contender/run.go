package contender

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"runtime/metrics"
	"runtime/pprof"
	"syscall"
	"time"
)

// Command is a line that the parent writes to a contender. The end of the input stops the contender.
type Command string

const (
	// Start begins what is measured. The answer is a Usage.
	Start Command = "start"
	// Mark asks for a Usage.
	Mark Command = "mark"
	// Collect asks for a Usage after a garbage collection.
	Collect Command = "collect"
	// Decide asks for all decisions of the Spec. The answer is a Usage, whose Took is the time that they needed.
	Decide Command = "decide"
	// Progress asks for a Usage with what the communities have had.
	Progress Command = "progress"
)

// Ready is a contender's first line.
type Ready struct {
	Addr string // where it serves HTTP, or its console; "" if it does not
}

// Usage is what a contender has used since its process began.
type Usage struct {
	CPU           time.Duration // user and system
	RedisCommands int64         // sent
	Heap          uint64        // bytes of heap in use
	Memory        uint64        // bytes that the Go runtime has from the system
	Took          time.Duration // of Decide

	// Of Progress.
	Admitted []int64         // handled, by community
	Busy     []time.Duration // of handlers that take their time, by community
	Calls    []Call          // of quiet messages, since Progress was asked for before
}

// Result is a contender's last line.
type Result struct {
	Admitted []int64 // by community
}

// Run starts the contender of spec, answers the commands that come in, line by line, with a line of JSON each, and
// stops at the end of the input. A parent that dies thus takes its contenders along.
func Run(ctx context.Context, spec Spec, in io.Reader, out io.Writer) (err error) {
	start, ok := starters[spec.Contender]
	if !ok {
		return fmt.Errorf("no contender is called %q", spec.Contender)
	}
	e, err := newEnv(ctx, spec)
	if err != nil {
		return err
	}
	defer e.close()
	r, err := start(ctx, e)
	if err != nil {
		return fmt.Errorf("start %s: %w", spec.Contender, err)
	}
	answers := json.NewEncoder(out)
	err = answers.Encode(Ready{Addr: r.addr})
	if err == nil {
		err = e.obey(ctx, r, bufio.NewScanner(in), answers)
	}
	pprof.StopCPUProfile()
	if err = errors.Join(err, r.stop()); err != nil {
		return err
	}
	return answers.Encode(e.result())
}

// obey answers commands until there are no more.
func (e *env) obey(ctx context.Context, r *running, commands *bufio.Scanner, answers *json.Encoder) error {
	for commands.Scan() {
		var took time.Duration
		switch c := Command(commands.Text()); c {
		case Start:
			if err := e.profile(); err != nil {
				return err
			}
		case Mark, Progress:
		case Collect:
			if err := e.collect(); err != nil {
				return err
			}
		case Decide:
			began := time.Now()
			if err := r.decide(ctx); err != nil {
				return fmt.Errorf("decide: %w", err)
			}
			took = time.Since(began)
		default:
			return fmt.Errorf("unknown command %q", c)
		}
		u, err := e.usage()
		if err != nil {
			return err
		}
		u.Took = took
		if Command(commands.Text()) == Progress {
			u.Admitted, u.Busy, u.Calls = e.result().Admitted, e.busyTimes(), e.takeCalls()
		}
		if err := answers.Encode(u); err != nil {
			return err
		}
	}
	return commands.Err()
}

// profile starts the CPU profile, if there is to be one.
func (e *env) profile() error {
	if e.spec.Profile == "" {
		return nil
	}
	f, err := os.Create(e.spec.Profile)
	if err != nil {
		return err
	}
	return pprof.StartCPUProfile(f)
}

// collect leaves only what is in use on the heap, and writes the heap profile beside the CPU profile, if there is to be
// one.
func (e *env) collect() error {
	runtime.GC()
	runtime.GC() // what the first one's finalizers have freed
	if e.spec.Profile == "" {
		return nil
	}
	f, err := os.Create(e.spec.Profile + ".heap")
	if err != nil {
		return err
	}
	return errors.Join(pprof.WriteHeapProfile(f), f.Close())
}

func (e *env) usage() (Usage, error) {
	var ru syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &ru); err != nil {
		return Usage{}, fmt.Errorf("getrusage: %w", err)
	}
	samples := []metrics.Sample{
		{Name: "/memory/classes/heap/objects:bytes"},
		{Name: "/memory/classes/total:bytes"},
		{Name: "/memory/classes/heap/released:bytes"},
	}
	metrics.Read(samples)
	return Usage{
		CPU:           time.Duration(ru.Utime.Nano() + ru.Stime.Nano()),
		RedisCommands: e.redisCommands.Load(),
		Heap:          samples[0].Value.Uint64(),
		Memory:        samples[1].Value.Uint64() - samples[2].Value.Uint64(),
	}, nil
}

func (e *env) busyTimes() []time.Duration {
	busy := make([]time.Duration, len(e.busy))
	for i := range e.busy {
		busy[i] = time.Duration(e.busy[i].Load())
	}
	return busy
}

func (e *env) result() Result {
	r := Result{Admitted: make([]int64, len(e.admitted))}
	for i := range e.admitted {
		r.Admitted[i] = e.admitted[i].Load()
	}
	return r
}
