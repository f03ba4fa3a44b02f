package pipeline

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"arrakis/pipeline/contract"
	"arrakis/pipeline/lanes"
	"arrakis/pipeline/streams"
	"arrakis/tenant"
)

const (
	// laneCheck is the time between two looks at who holds too much. What comes meanwhile is moved afterwards.
	laneCheck = 20 * time.Millisecond
	// laneCheckShare bounds the part of the time that these looks take, 1/laneCheckShare, unless one takes very long.
	laneCheckShare = 50
	// lanePoll is the time between two polls of who is in a lane.
	lanePoll = time.Second
	// laneFailures is how many lanes that cannot be opened end a look: servers in trouble are not to be asked for all.
	laneFailures = 3
)

// laneKeeper opens lanes for communities that are over their due, and lets them leave. It adds a source for each lane:
// every process reads all lanes that exist, so that none waits for the process that has filled it.
type laneKeeper struct {
	// Set by New, read-only.
	js          jetstream.JetStream
	registry    *lanes.Registry
	writer      *laneWriter
	admitted    *fairQueue
	decode      *decodeStage
	monitor     *monitor
	ensurer     *ensurer
	concurrency int           // handlers in this process
	redelivered *atomic.Int64 // counts deliveries that are not a message's first, for package streams
	log         *slog.Logger

	// Owned by check.
	list    []claim   // memory for the next look
	trouble trouble   // communities get no lane
	without lanes.Key // the last one that got none

	mu      sync.Mutex   // protects the field below
	reading map[int]bool // the lanes that have a source
}

// newLaneKeeper makes the keeper, the writer and the registry of p.
func (p *Pipeline) newLaneKeeper(o *Options) *laneKeeper {
	k := &laneKeeper{
		js: p.ensurer.js, admitted: p.admitted, decode: p.decode, monitor: p.monitor, ensurer: p.ensurer,
		concurrency: o.HandlerConcurrency, log: p.log, reading: map[int]bool{},
	}
	k.registry = lanes.New(lanes.Options{
		JetStream: k.js, Redis: o.Redis, Health: o.Limiter.Health(),
		Consumer: k.ensure, Busy: k.busy, Opened: k.opened, Decided: func(l *lanes.Lane, left bool) { k.writer.decided(l, left) },
		MinStay: o.laneStay, Logger: o.Logger, Registerer: o.Registerer,
	})
	k.writer = newLaneWriter(p.nc, k.registry, p.monitor.ensure, p.log, p.admitted, p.ended)
	return k
}

// ensure makes the consumer of a lane, and OVERFLOW if it is missing.
func (k *laneKeeper) ensure(ctx context.Context, lane int) error {
	err := streams.EnsureLane(ctx, k.js, lane, k.ensurer.options)
	if isGone(err) {
		if err = k.ensurer.ensure(ctx); err == nil {
			err = streams.EnsureLane(ctx, k.js, lane, k.ensurer.options)
		}
	}
	return err
}

// busy reports whether messages of a community wait here that are not from its lane.
func (k *laneKeeper) busy(key lanes.Key) bool { return k.admitted.holds(key) }

// opened moves what waits here of a community whose lane is open, and was not, or could not be used, until now. Nothing
// passes meanwhile. As many messages stay as keep the workers busy until the lane is read.
func (k *laneKeeper) opened(lane *lanes.Lane) {
	keep := max(1, min(2*k.admitted.alone(lane.Community), k.ensurer.options.WithDefaults().MaxAckPending/40))
	var moves []*laneMove
	for _, d := range k.admitted.takeBehind(lane.Key, keep) {
		moves = append(moves, enter(d, lane))
	}
	k.writer.put(moves)
}

// poll learns who is in a lane, and adds sources for lanes that have none.
func (k *laneKeeper) poll(ctx context.Context) {
	k.registry.Poll(ctx, time.Now())
	k.read()
}

// read adds a source for each lane that has none.
func (k *laneKeeper) read() {
	for _, lane := range k.registry.Consumers() {
		if !k.begins(lane) {
			continue
		}
		s := newLaneSource(k.js, lane, 2*k.concurrency, func(ctx context.Context) error { return k.ensure(ctx, lane) }, k.log)
		s.redelivered = k.redelivered
		k.decode.add(s)
		k.monitor.watch(s)
	}
}

// begins notes that a lane is going to have a source. It returns false if the lane has one.
func (k *laneKeeper) begins(lane int) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.reading[lane] {
		return false
	}
	k.reading[lane] = true
	return true
}

// run keeps lanes until ctx ends. A poll, which may wait for a lane to become empty, does not put off the looks at who
// holds too much.
func (k *laneKeeper) run(ctx context.Context) {
	var polls sync.WaitGroup
	polls.Go(func() { k.runPolls(ctx) })
	k.runChecks(ctx)
	polls.Wait()
}

// runPolls polls until ctx ends.
func (k *laneKeeper) runPolls(ctx context.Context) {
	poll := time.NewTicker(lanePoll)
	defer poll.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-poll.C:
			k.poll(ctx)
		}
	}
}

// runChecks opens lanes until ctx ends.
func (k *laneKeeper) runChecks(ctx context.Context) {
	check := time.NewTimer(laneCheck)
	defer check.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case c := <-k.writer.changed:
			if err := k.registry.SetDirect(ctx, c.key, c.direct); err != nil { // a later message says it again
				k.log.DebugContext(ctx, "whether a lane is direct", "community_id", c.key.Community, "err", err)
			}
		case <-check.C:
			check.Reset(k.check(ctx, time.Now()))
		}
	}
}

// check opens lanes for all that are over their due, and returns the time until the next check.
func (k *laneKeeper) check(ctx context.Context, now time.Time) time.Duration {
	k.list = k.admitted.claims(k.list[:0], lanes.DueMessages, intakeBytes/lanes.DueShare)
	defer clear(k.list)
	pause := untilCheck(time.Since(now)) // servers that are slow to open a lane must not put the next check off
	opened, failed := 0, 0
	for i := range k.list {
		c := &k.list[i]
		if !c.load(now).Enters() {
			continue
		}
		key := lanes.Key{Kind: c.kind, Community: c.community}
		if err := k.registry.Open(ctx, key, goesDirect(c.kind, c.tenant)); err != nil {
			if k.trouble.isNew(err) {
				k.log.WarnContext(ctx, "a community that is over its due gets no lane: others may wait behind it",
					"kind", key.Kind.String(), "community_id", key.Community, "err", err)
			}
			k.without = key
			if failed++; failed == laneFailures || !lanes.OneLane(err) {
				break
			}
			continue
		}
		opened++
		k.read()
	}
	switch {
	case failed > 0:
		return lanePoll
	case (opened > 0 || k.registry.Reads(k.without)) && k.trouble.over(): // another process may have opened it
		k.log.InfoContext(ctx, "communities that are over their due get lanes again")
	}
	return pause
}

// untilCheck is the time until the next check, after a look that took so long.
func untilCheck(took time.Duration) time.Duration {
	return min(max(laneCheck, laneCheckShare*took), lanePoll)
}

// load is what the rule for lanes asks.
func (c *claim) load(now time.Time) lanes.Load {
	return lanes.Load{
		Messages: c.waiting, Bytes: int(c.bytes), Waited: now.Sub(c.oldest), Expected: c.expected,
		Source: c.total, HandlerShare: c.running,
		Pool: int(c.source.pool.Load()), Unacked: int(c.source.unacked.Load()), Budget: intakeBytes,
	}
}

// goesDirect says whether the ingress may publish messages of the tenant straight into a lane: those that have no limit.
// Of events nobody knows which are still on their way: EVENTS keeps what was handled. They keep to their stream.
func goesDirect(kind contract.Kind, t *tenant.Tenant) bool {
	route := kind.Route()
	return kind != contract.KindEvent &&
		(!route.Limited || t.Max[route.Action] < 0 && (kind != contract.KindCommand || t.Max[tenant.UserCommand] < 0))
}
