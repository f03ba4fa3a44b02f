package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"

	"arrakis/loadtest/bench/contender"
	"arrakis/loadtest/bench/workload"
	"arrakis/pipeline/streams"
)

const (
	// firstMoments are the beginning of a burst, while it is being taken in.
	firstMoments = 3 * time.Second
	// lookEvery is how often a run is looked at.
	lookEvery = 100 * time.Millisecond
	// lastWithin is how long messages have to end once no more are published. Those that have not count with the age
	// that they have reached.
	lastWithin = 2 * time.Second
	// fairHandlers is how many handlers each worker of any contender runs at once: as many as arrakis by default.
	fairHandlers = 256
)

// fairRun is one run of the section fairness: workers, quiet communities, a flood.
type fairRun struct {
	contender contender.Name
	workers   int
	quiet     bool // the quiet communities publish
	small     bool // the small community publishes beside the flood
	flood     flood
	warm      time.Duration // before anything is measured
	calm      time.Duration // of the quiet communities alone
	// takenIn is how long JetStream may take to deliver all of the flood before what comes after begins all the same. With
	// 0 that begins with the flood.
	takenIn time.Duration
	after   time.Duration
	prepare func(context.Context, *servers) error // before the workers start; nil is nothing
	profile string                                // file for a CPU profile of the first worker; "" for none
}

// fairResult is what a run shows. Latencies are those of the quiet communities, sorted, from when a message was due.
type fairResult struct {
	alone, first, after []time.Duration
	beside              []time.Duration // from the beginning of the flood to the end
	stored              []time.Duration // the same, only until JetStream had stored them: no worker can be faster
	late                int             // messages that had not ended at the end

	taken               time.Duration    // until JetStream had delivered all of the flood; 0 if it had not at the end
	rate                float64          // messages of the flood that were handled a second, from its beginning
	shares              []float64        // of handler time afterwards, by community of the flood, and the small one
	overflow            int64            // bytes that OVERFLOW had at most
	peaks               map[string]int64 // bytes: memory of "workers" and "nats-server", and "disk"
	sent, handled, left int              // of the flood at the end
}

// fairOnce measures one run, on servers of its own.
func (b *bench) fairOnce(ctx context.Context, r fairRun) (result fairResult, err error) {
	dir, err := os.MkdirTemp("", "arrakis-bench-fair-")
	if err != nil {
		return result, err
	}
	defer func() { _ = os.RemoveAll(dir) }() // the system clears what is left
	s, err := startServers(ctx, dir)
	if err != nil {
		return result, err
	}
	defer s.stop()
	if err := s.storeTenants(ctx, workload.Raised, small+1); err != nil {
		return result, err
	}
	err = streams.Ensure(ctx, s.js, nil, streams.Options{Storage: jetstream.FileStorage}, slog.New(slog.DiscardHandler))
	if err != nil {
		return result, err
	}
	if r.prepare != nil {
		if err := r.prepare(ctx, s); err != nil {
			return result, err
		}
	}
	children, err := s.startWorkers(ctx, pipelineRun{
		contender: r.contender, mix: workload.Raised, communities: small + 1, processes: r.workers,
		handlers: fairHandlers, profile: r.profile,
	})
	defer func() {
		for _, c := range children {
			c.kill()
		}
	}()
	if err != nil {
		return result, err
	}
	if err := (&fairWatch{servers: s, run: r, children: children}).measure(ctx, &result); err != nil {
		return result, err
	}
	if r.profile != "" {
		_, err = children[0].stop() // which writes the profile
	}
	return result, err
}

// measure runs the load and fills the result.
func (w *fairWatch) measure(ctx context.Context, result *fairResult) error {
	quiet, err := w.servers.newPublisher("quiet", publishWindow)
	if err != nil {
		return err
	}
	defer quiet.nc.Close()
	noisy, err := w.servers.newPublisher("flood", floodWindow)
	if err != nil {
		return err
	}
	defer noisy.nc.Close()
	steady, err := w.servers.newPublisher("small", publishWindow)
	if err != nil {
		return err
	}
	defer steady.nc.Close()
	load, stopLoad := context.WithCancel(ctx)
	defer stopLoad()
	g, load := errgroup.WithContext(load)
	var published []*paced
	if w.run.quiet {
		g.Go(func() (err error) { published, err = quiet.pace(load); return err })
	}
	err = w.follow(load, result, func() {
		g.Go(func() error {
			defer w.poured.Store(true)
			return noisy.pour(load, w.run.flood)
		})
		if w.run.small {
			g.Go(func() error { return steady.steady(load) })
		}
	})
	stopLoad()
	if failed := g.Wait(); failed != nil {
		return failed // and so no wonder that it could not be followed
	}
	if err != nil {
		return err
	}
	if n := quiet.refused.Load() + noisy.refused.Load(); n > 0 && w.run.flood.messages > 0 {
		return fmt.Errorf("JetStream has refused %d messages: the run is void", n)
	}
	if err := w.awaitLast(ctx, len(published)); err != nil {
		return err
	}
	result.sent = int(noisy.sent.Load())
	w.latencies(published, result)
	return w.peaks(result)
}

// follow leads a run through its phases, until its end.
func (w *fairWatch) follow(ctx context.Context, result *fairResult, pour func()) error {
	if _, err := askAll(w.children, contender.Start); err != nil {
		return err
	}
	if err := w.lookFor(ctx, w.run.warm); err != nil {
		return err
	}
	w.calm = time.Now()
	if err := w.lookFor(ctx, w.run.calm); err != nil {
		return err
	}
	w.began = time.Now()
	pour()
	var busy []time.Duration // at afterFrom
	for {
		if err := w.lookFor(ctx, lookEvery); err != nil {
			return err
		}
		if w.afterFrom.IsZero() && w.isAfter(result) {
			if err := w.askWorkers(); err != nil {
				return err
			}
			w.afterFrom, busy = time.Now(), w.busy
		}
		if w.isOver() {
			break
		}
	}
	if err := w.askWorkers(); err != nil {
		return err
	}
	w.ended = time.Now()
	if w.afterFrom.IsZero() {
		w.afterFrom = w.ended // there was no after
	}
	result.handled, result.left = w.handled, w.run.flood.messages-w.handled
	result.rate = float64(w.handled) / w.ended.Sub(w.began).Seconds()
	result.shares, result.overflow = w.sharesSince(busy), w.overflow
	return nil
}

// isAfter reports whether the flood has been taken in, or it has had its time for that.
func (w *fairWatch) isAfter(result *fairResult) bool {
	since := time.Since(w.began)
	if result.taken == 0 && w.poured.Load() && w.pending == 0 {
		result.taken = since
	}
	return since >= w.run.takenIn || result.taken > 0 && since >= firstMoments
}

// isOver reports whether the last phase has lasted long enough, or there is next to nothing left of the flood, so that
// nobody is beside it any more.
func (w *fairWatch) isOver() bool {
	few := w.run.flood.messages / 20
	return w.run.flood.messages > 0 && w.run.flood.messages-w.handled <= few ||
		!w.afterFrom.IsZero() && time.Since(w.afterFrom) >= w.run.after
}
