package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"golang.org/x/sync/errgroup"

	"arrakis/loadtest/program"
)

// A community that floods publishes far more than its share, for handlers that are slow. So it gets into a lane, with a
// backlog that lasts for most of a slot, and out of it again before its next burst of the same kind.
const (
	burstMessages   = 2_000
	burstPublishers = 128
	// Handlers of a community that floods take so long. With half of the handlers of all workers, a burst lasts for
	// about six seconds.
	floodHandler, floodHandlerMore = 100 * time.Millisecond, 100 * time.Millisecond
)

const (
	overflow   = "OVERFLOW" // the stream of lanes
	retryAgain = "RETRY"    // the stream of messages that are tried again
	markers    = "arrakis:lanes"
)

// floods reports whether a community is one of those that flood.
func floods(community string) bool { return community == openFlood || community == limitedFlood }

// flood publishes a burst in each slot. It returns when all are acknowledged.
func (r *run) flood(ctx context.Context) error {
	draw := rand.New(rand.NewPCG(r.o.seed, 3)) //nolint:gosec // a plan, not a secret
	g, ctx := errgroup.WithContext(ctx)
	for n := range r.all {
		at := float64(n) + draw.Float64()/4 // a fault of the slot begins as early
		for r.passed() < at {
			if err := program.Pause(ctx, 5*time.Millisecond); err != nil {
				return g.Wait() // which says why
			}
		}
		g.Go(func() error { return r.load.burst(ctx, n) })
	}
	return g.Wait()
}

// burst publishes burst n, as fast as it can.
func (l *load) burst(ctx context.Context, n int) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(burstPublishers)
	for i := range burstMessages {
		m := newFloodMessage(l.seed, n, i)
		l.add(m)
		g.Go(func() error { return l.publish(ctx, m) })
	}
	return g.Wait()
}

// carried is what has become of messages that arrakis has stored again.
type carried struct {
	Moved  uint64 // messages stored in OVERFLOW
	Lanes  int    // lanes opened
	Most   uint64 // messages that OVERFLOW has held at a time
	Again  uint64 // messages stored in RETRY: each until its time, and then for the workers
	opened map[string]struct{}
}

// unused says what a run has not used, and so not tested.
func (c *carried) unused() (sentences []string) {
	if c.Moved == 0 || c.Lanes == 0 {
		sentences = append(sentences, "no message went through a lane")
	}
	if c.Again == 0 {
		sentences = append(sentences, "no message was tried again by way of RETRY")
	}
	return sentences
}

// watchLanes looks once a second at who is in a lane and how much waits there, and gives new lanes the ack wait of the
// run.
func (r *run) watchLanes(ctx context.Context) {
	for program.Pause(ctx, time.Second) == nil {
		r.lookAtLanes(ctx)
	}
}

// lookAtLanes is one look. What does not answer is left out.
func (r *run) lookAtLanes(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	if fields, err := r.redis.client.HGetAll(ctx, markers).Result(); err == nil {
		for field, marker := range fields {
			r.carried.opened[field+marker] = struct{}{} // which has an epoch
		}
	}
	stream, err := r.js.Stream(ctx, overflow)
	if err != nil {
		return
	}
	r.carried.Most = max(r.carried.Most, stream.CachedInfo().State.Msgs)
	_ = program.SetAckWait(ctx, stream, ackWait) // the next look tries again
}

// readCarried reads at the end of the run what the streams have stored in all.
func (r *run) readCarried(ctx context.Context) error {
	r.carried.Lanes = len(r.carried.opened)
	for name, stored := range map[string]*uint64{overflow: &r.carried.Moved, retryAgain: &r.carried.Again} {
		stream, err := r.js.Stream(ctx, name)
		if err != nil {
			return fmt.Errorf("look at %s: %w", name, err)
		}
		*stored = stream.CachedInfo().State.LastSeq
	}
	return nil
}
