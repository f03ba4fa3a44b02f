package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"

	"arrakis/loadtest/bench/contender"
	"arrakis/loadtest/bench/workload"
)

// pipelineRun is one contender emptying one stream.
type pipelineRun struct {
	contender   contender.Name
	mix         workload.Mix
	storage     jetstream.StorageType
	messages    int
	communities int
	shards      int    // of arrakis; 0 is its default
	processes   int    // 0 is one
	handlers    int    // of the textbook worker and Watermill; 0 is their default
	warm        int    // messages that every community has had before the clock starts
	profile     string // file for a CPU profile of the first process; "" for none
	ops         bool   // the first process serves its console
	consoles    int    // that are open on it during the run

	takes time.Duration // how long the run is to take, about; 0 is the benchmark's default
}

// measurement is what one run shows. What is not measured in a run is 0.
type measurement struct {
	rate     float64 // messages, decisions or requests per second
	cpu      float64 // CPU seconds of the contender for a million messages
	commands float64 // commands sent to Redis for a thousand messages
	warm     float64 // the same in the second half of the run
	bytes    float64 // bytes to and from Redis for one message
	over     int64   // admissions above the limits, over all communities
	admitted int64
	memory   float64 // bytes that all processes have from the system at the end
	heap     float64 // bytes of heap in use once warm, over all processes

	p50, p99 time.Duration // of requests, or of the console's pages
}

// prepare empties Redis, stores the tenants, and makes the stream anew.
func (s *servers) prepare(ctx context.Context, mix workload.Mix, communities int, storage jetstream.StorageType) error {
	if err := s.rdb.FlushAll(ctx).Err(); err != nil {
		return fmt.Errorf("empty Redis: %w", err)
	}
	if err := s.storeTenants(ctx, mix, communities); err != nil {
		return err
	}
	return s.newStream(ctx, storage)
}

// storeTenants stores the tenant documents of communities 0 to n-1.
func (s *servers) storeTenants(ctx context.Context, mix workload.Mix, n int) error {
	const batch = 1_000
	for from := 0; from < n; from += batch {
		pipe := s.rdb.Pipeline()
		for i := from; i < min(n, from+batch); i++ {
			pipe.Set(ctx, "tenant:config:"+workload.ID(i), mix.Document(i), 0)
		}
		if _, err := pipe.Exec(ctx); err != nil {
			return fmt.Errorf("store tenants: %w", err)
		}
	}
	return nil
}

// run measures one run, and repeats one that the machine has made void.
func (s *servers) run(ctx context.Context, r pipelineRun) (m measurement, err error) {
	const attempts = 5
	for range attempts {
		if m, err = s.runOnce(ctx, r); !errors.Is(err, errLate) {
			return m, err
		}
	}
	return m, fmt.Errorf("%d times: %w", attempts, err)
}

// runOnce measures one run: the stream is full and the contender waiting when the clock starts, which is when the
// server may deliver; it ends with the last ack, by the server's clock.
func (s *servers) runOnce(ctx context.Context, r pipelineRun) (m measurement, err error) {
	if err := s.prepare(ctx, r.mix, r.communities, r.storage); err != nil {
		return m, err
	}
	children, err := s.startWorkers(ctx, r)
	defer func() {
		for _, c := range children {
			c.kill()
		}
	}()
	if err != nil {
		return m, err
	}
	first := time.Now() // before the first admission
	var delivered uint64
	if r.warm > 0 {
		if m.heap, err = s.warmUp(ctx, r, children); err != nil {
			return m, err
		}
		delivered = uint64(r.communities * r.warm) //nolint:gosec // above 0
	}
	run := s.nextRun()
	picker := workload.NewPicker(uint64(run), r.communities)
	if err := s.fill(ctx, run, r.messages, func(int) int { return picker.Next() }); err != nil {
		return m, err
	}
	open, err := openConsoles(ctx, children[0].addr, r)
	if err != nil {
		return m, err
	}
	err = s.measure(ctx, r, children, delivered, first, &m)
	pages, watched := open.close()
	if err := errors.Join(err, watched); err != nil {
		return m, err
	}
	m.p50, m.p99 = percentile(pages, 0.5), percentile(pages, 0.99)
	return m, stopWorkers(children, r.mix, &m)
}

// nextRun numbers runs, so that no event ID comes twice.
func (s *servers) nextRun() uint32 {
	s.runs++
	return s.runs
}

func (s *servers) startWorkers(ctx context.Context, r pipelineRun) ([]*child, error) {
	children := make([]*child, max(1, r.processes))
	var g errgroup.Group
	for i := range children {
		spec := contender.Spec{
			Contender: r.contender, NATS: s.natsURL, Redis: s.redisAddr,
			Mix: r.mix, Communities: r.communities, Shards: r.shards, Handlers: r.handlers,
		}
		if i == 0 {
			spec.Profile, spec.Ops = r.profile, r.ops
		}
		g.Go(func() (err error) { children[i], err = startChild(ctx, spec); return err })
	}
	err := g.Wait()
	return started(children), err
}

// started are the children that came up.
func started(children []*child) []*child {
	var up []*child
	for _, c := range children {
		if c != nil {
			up = append(up, c)
		}
	}
	return up
}

// warmUp lets every community have its first messages, and returns the heap in use.
func (s *servers) warmUp(ctx context.Context, r pipelineRun, children []*child) (heap float64, err error) {
	n := r.communities * r.warm
	if err := s.fill(ctx, s.nextRun(), n, func(i int) int { return i % r.communities }); err != nil {
		return 0, err
	}
	if _, err := s.release(ctx); err != nil {
		return 0, err
	}
	if _, err := s.drained(ctx, 0, n, nil); err != nil {
		return 0, err
	}
	if err := s.pause(ctx); err != nil {
		return 0, err
	}
	used, err := askAll(children, contender.Collect)
	return float64(used.Heap), err
}

// askAll sends a command to all children and adds up their answers.
func askAll(children []*child, command contender.Command) (sum contender.Usage, err error) {
	for _, c := range children {
		u, err := c.ask(command)
		if err != nil {
			return sum, err
		}
		sum.CPU += u.CPU
		sum.RedisCommands += u.RedisCommands
		sum.Heap += u.Heap
		sum.Memory += u.Memory
	}
	return sum, nil
}

// measure lets the contender empty the stream. All of the run, from first on, must fit into one window.
func (s *servers) measure(
	ctx context.Context, r pipelineRun, children []*child, delivered uint64, first time.Time, m *measurement,
) error {
	bytesBefore, err := s.redisBytes(ctx)
	if err != nil {
		return err
	}
	before, err := askAll(children, contender.Start)
	if err != nil {
		return err
	}
	var half contender.Usage
	var secondHalf float64 // messages
	began, err := s.release(ctx)
	if err != nil {
		return err
	}
	ended, err := s.drained(ctx, delivered, r.messages, func(left float64) error {
		var err error
		secondHalf = left
		half, err = askAll(children, contender.Mark)
		return err
	})
	if err != nil {
		return err
	}
	after, err := askAll(children, contender.Mark)
	if err != nil {
		return err
	}
	bytesAfter, err := s.redisBytes(ctx)
	if err != nil {
		return err
	}
	took := ended.Sub(began)
	if all := ended.Sub(first); all >= workload.Window {
		return fmt.Errorf("the run took %s, and limits open again after %s: it is too large for this machine", all, workload.Window)
	}
	n := float64(r.messages)
	m.rate = n / took.Seconds()
	m.cpu = (after.CPU - before.CPU).Seconds() / n * 1e6
	m.commands = float64(after.RedisCommands-before.RedisCommands) / n * 1e3
	m.warm = float64(after.RedisCommands-half.RedisCommands) / max(1, secondHalf) * 1e3
	m.memory = float64(after.Memory)
	m.bytes = float64(bytesAfter-bytesBefore) / n
	return nil
}

// stopWorkers ends the contender and counts what it has admitted.
func stopWorkers(children []*child, mix workload.Mix, m *measurement) error {
	var errs []error
	results := make([]contender.Result, 0, len(children))
	for _, c := range children {
		result, err := c.stop()
		errs = append(errs, err)
		results = append(results, result)
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	m.count(results, mix)
	return nil
}

// count adds up admissions. All runs are shorter than the window, so what is above a community's limit was admitted
// above it.
func (m *measurement) count(results []contender.Result, mix workload.Mix) {
	var admitted []int64
	for _, r := range results {
		if admitted == nil {
			admitted = make([]int64, len(r.Admitted))
		}
		for i, n := range r.Admitted {
			admitted[i] += n
		}
	}
	for i, n := range admitted {
		m.admitted += n
		if limit := mix.Limit(i); limit != workload.Unlimited {
			m.over += max(0, n-limit)
		}
	}
}
