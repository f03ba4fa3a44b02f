package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"arrakis/loadtest/bench/contender"
	"arrakis/pipeline/contract"
)

// fairWatch follows one run of the section fairness. Its fields belong to the goroutine of measure, but for poured.
type fairWatch struct {
	servers  *servers
	run      fairRun
	children []*child
	poured   atomic.Bool // all of the flood is stored, or no more comes

	calm, began, afterFrom, ended time.Time // when the phases began, and the last one ended

	pending uint64          // messages that JetStream has not delivered yet
	handled int             // of the flood
	busy    []time.Duration // handler time by community
	calls   map[int64]int64 // quiet messages that were handled: when each was due, and when it was handled first, unix µs
	disk    int64           // the most bytes that nats-server has had in files
	looks   int

	overflow int64 // the most bytes that OVERFLOW has had
}

// lookFor looks at the run until d has passed.
func (w *fairWatch) lookFor(ctx context.Context, d time.Duration) error {
	until := time.Now().Add(d)
	for {
		select {
		case <-time.After(min(lookEvery, time.Until(until))):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		if err := w.look(ctx); err != nil {
			return err
		}
		if !time.Now().Before(until) {
			return nil
		}
	}
}

// look brings the fields up to date.
func (w *fairWatch) look(ctx context.Context) error {
	consumer, err := w.servers.js.Consumer(ctx, contract.StreamCommands, contract.ConsumerCommand)
	if err != nil {
		return fmt.Errorf("look at the consumer: %w", err)
	}
	w.pending = consumer.CachedInfo().NumPending
	const seldom = 5 // what costs more
	if w.looks++; w.looks%seldom != 0 {
		return nil
	}
	if err := w.askWorkers(); err != nil {
		return err
	}
	overflow, err := w.servers.js.Stream(ctx, contract.StreamOverflow)
	if err != nil {
		return fmt.Errorf("look at OVERFLOW: %w", err)
	}
	w.overflow = max(w.overflow, int64(overflow.CachedInfo().State.Bytes)) //nolint:gosec // far below 9e18
	used, err := bytesIn(natsStore(w.servers.dir))
	w.disk = max(w.disk, used)
	return err
}

// askWorkers asks the workers what they have handled.
func (w *fairWatch) askWorkers() error {
	if w.calls == nil {
		w.calls = map[int64]int64{}
	}
	w.handled, w.busy = 0, nil
	for _, c := range w.children {
		u, err := c.ask(contender.Progress)
		if err != nil {
			return err
		}
		if w.busy == nil {
			w.busy = make([]time.Duration, len(u.Busy))
		}
		for i, d := range u.Busy {
			w.busy[i] += d
		}
		for _, i := range w.run.flood.communities {
			w.handled += int(u.Admitted[i])
		}
		for _, call := range u.Calls {
			if first, again := w.calls[call.Due]; !again || call.Ended < first {
				w.calls[call.Due] = call.Ended
			}
		}
	}
	return nil
}

// awaitLast waits until n quiet messages have been handled, or lastWithin has passed.
func (w *fairWatch) awaitLast(ctx context.Context, n int) error {
	until := time.Now().Add(lastWithin)
	return poll(ctx, lookEvery, func() (bool, error) {
		err := w.askWorkers()
		return len(w.calls) >= n || time.Now().After(until), err
	})
}

// latencies sorts those of the quiet messages by phase.
func (w *fairWatch) latencies(published []*paced, result *fairResult) {
	now := time.Now()
	within := func(at, from, to time.Time) bool { return !at.Before(from) && at.Before(to) }
	for _, m := range published {
		at, latency := m.due, now.Sub(m.due)
		if handled, ok := w.calls[at.UnixMicro()]; ok {
			latency = time.Duration(handled-at.UnixMicro()) * time.Microsecond
		} else {
			result.late++
		}
		if within(at, w.calm, w.began) {
			result.alone = append(result.alone, latency)
		}
		if within(at, w.began, w.began.Add(firstMoments)) {
			result.first = append(result.first, latency)
		}
		if within(at, w.afterFrom, w.ended) {
			result.after = append(result.after, latency)
		}
		if within(at, w.began, w.ended) {
			result.beside = append(result.beside, latency)
			result.stored = append(result.stored, cmp.Or(m.stored, latency))
		}
	}
	for _, phase := range [][]time.Duration{result.alone, result.first, result.after, result.beside, result.stored} {
		slices.Sort(phase)
	}
}

// sharesSince are the shares of the communities of the flood, and of the small one if it publishes, in the handler time
// since they had had before.
func (w *fairWatch) sharesSince(before []time.Duration) []float64 {
	var total float64
	communities := w.run.flood.communities
	if w.run.small {
		communities = append(slices.Clone(communities), small)
	}
	shares := make([]float64, len(communities))
	for n, i := range communities {
		d := w.busy[i]
		if i < len(before) {
			d -= before[i]
		}
		shares[n] = d.Seconds()
		total += shares[n]
	}
	for n := range shares {
		if total > 0 {
			shares[n] /= total
		}
	}
	return shares
}

// peaks fills in what was used at most.
func (w *fairWatch) peaks(result *fairResult) error {
	nats, err := peakMemory(w.servers.natsPID)
	if err != nil {
		return err
	}
	result.peaks = map[string]int64{"nats-server": nats, "disk": w.disk}
	for _, c := range w.children {
		used, err := peakMemory(c.cmd.Process.Pid)
		if err != nil {
			return err
		}
		result.peaks["workers"] += used
	}
	return nil
}

// peakMemory is the most memory that a process has had, in bytes; 0 on systems that do not tell.
func peakMemory(pid int) (int64, error) {
	status, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "status"))
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(status)) {
		if rest, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			kib, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64)
			if err != nil {
				return 0, fmt.Errorf("read the peak memory of process %d: %w", pid, err)
			}
			return kib << 10, nil
		}
	}
	return 0, nil
}

// bytesIn is the size of all files below a folder. Files come and go meanwhile.
func bytesIn(dir string) (total int64, err error) {
	err = filepath.WalkDir(dir, func(_ string, entry fs.DirEntry, err error) error {
		if err == nil && entry.Type().IsRegular() {
			var info fs.FileInfo
			if info, err = entry.Info(); err == nil {
				total += info.Size()
			}
		}
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	})
	return total, err
}
