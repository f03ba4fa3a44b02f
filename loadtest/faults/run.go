package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"

	"arrakis/loadtest/faults/audit"
)

const (
	workers = 3
	// ackWait is that of all consumers: short, so that a run sees what a worker that died leaves to the others.
	ackWait = 5 * time.Second
	// slot is the time for one fault and for what follows from it. The load of a slot is published in it.
	slot = 7 * time.Second
	// recoverWithin is how long servers and workers may take after a fault until all are ready.
	recoverWithin = time.Minute
	// drainWithin is how long the messages may take to end after the last fault.
	drainWithin = 5 * time.Minute
)

// run is one run: its servers, its load and what is known.
type run struct {
	o   options
	dir string // of all files

	nodes   []*node
	redis   *redisServer
	workers []*worker
	service *service
	load    *load
	ledger  *audit.Ledger
	limits  map[string]audit.Limit
	direct  *nats.Conn // without faults between
	js      jetstream.JetStream

	steps    []audit.Step
	back     time.Duration // sum of steps
	away     []outage      // of Redis, for any worker
	plan     []faultKind
	faults   []fault
	killings atomic.Int64 // workers that messages have killed
	teardown []func()

	mu      sync.Mutex // protects the fields below
	slots   int        // that are over
	all     int        // slots of the plan
	current int        // slots of the fault that is on
	began   time.Time  // of the current slot
	now     string     // the fault that is on
	dropped map[string]uint64
}

// result is what a run has shown.
type result struct {
	Seed     uint64
	Took     time.Duration
	Faults   []fault
	Messages audit.Result
	Windows  audit.Windows
	Without  []string // messages that were handled though Redis has not admitted them
	Crashes  []string // processes that ended by themselves
	Problems []string // anything else that must not be
	Refused  int64    // publishes that a full stream has refused
	Retried  int64
	Killings int64
	Redis    string // version
	Dir      string // files, if they were kept
}

// failed reports whether anything was lost, exceeded or otherwise wrong.
func (r *result) failed() bool {
	return r.Messages.Endings[audit.Lost]+r.Messages.Endings[audit.Unfinished]+r.Windows.Over > 0 ||
		r.Messages.Acknowledged < r.Messages.Published ||
		len(r.Messages.Wrong)+len(r.Without)+len(r.Crashes)+len(r.Problems) > 0
}

// runOnce makes a run in dir, which exists.
func runOnce(ctx context.Context, o options, dir string, progress io.Writer) (*result, error) {
	r := &run{o: o, dir: dir, ledger: audit.NewLedger(), dropped: map[string]uint64{}}
	defer func() {
		for _, end := range slices.Backward(r.teardown) {
			end()
		}
	}()
	if err := r.startServers(ctx); err != nil {
		return nil, err
	}
	if err := r.prepare(ctx); err != nil {
		return nil, err
	}
	began := time.Now()
	res := &result{Seed: o.seed, Redis: r.redis.version(ctx)}

	working, stopWorking := context.WithCancel(ctx)
	defer stopWorking()
	watching, stopWatching := context.WithCancel(ctx)
	defer stopWatching()
	var supervisors, watchers errgroup.Group
	for _, w := range r.workers {
		supervisors.Go(func() error { return w.supervise(working) })
	}
	watchers.Go(func() error { r.watchDropped(watching); return nil })
	watchers.Go(func() error { r.report(watching, progress); return nil })
	failed := r.strike(ctx, progress)
	var left []string
	if failed == nil {
		left, failed = r.drain(ctx)
	}
	stopWatching()
	_ = watchers.Wait() // returns nil only
	stopWorking()
	failed = errors.Join(failed, supervisors.Wait())
	if failed != nil {
		return nil, failed
	}
	res.Problems = append(res.Problems, left...)
	res.Faults, res.Took = r.faults, time.Since(began)
	res.Refused, res.Retried, res.Killings = r.load.refused.Load(), r.load.retried.Load(), r.killings.Load()
	for _, p := range r.processes() {
		res.Crashes = append(res.Crashes, p.unasked()...)
	}
	return res, r.audit(ctx, res)
}

// processes are all processes of the run.
func (r *run) processes() []*process {
	all := []*process{r.redis.process}
	for _, n := range r.nodes {
		all = append(all, n.process)
	}
	for _, w := range r.workers {
		all = append(all, w.process)
	}
	return all
}

// startServers starts NATS and Redis, and makes the connections that no fault touches.
func (r *run) startServers(ctx context.Context) (err error) {
	if r.nodes, err = newNodes(r.dir, r.o.nodes); err != nil {
		return err
	}
	if r.redis, err = newRedisServer(r.dir); err != nil {
		return err
	}
	servers := []*process{r.redis.process}
	var urls []string
	for _, n := range r.nodes {
		servers = append(servers, n.process)
		urls = append(urls, "nats://"+n.addr)
	}
	for _, p := range servers {
		if err := p.start(); err != nil {
			return err
		}
		r.teardown = append(r.teardown, p.kill)
	}
	r.teardown = append(r.teardown, func() { _ = r.redis.client.Close() }) // nobody uses it any more
	bounded, cancel := context.WithTimeout(ctx, startWithin)
	defer cancel()
	if err := poll(bounded, func() error { return r.serversAnswer(bounded) }); err != nil {
		return fmt.Errorf("%w; the logs are in %s", err, r.dir)
	}
	for _, u := range urls[1:] {
		urls[0] += "," + u
	}
	r.direct, err = nats.Connect(urls[0], nats.MaxReconnects(-1), nats.ReconnectWait(100*time.Millisecond), nats.Name("faults"),
		nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {})) // publishers see what fails
	if err != nil {
		return fmt.Errorf("connect to NATS: %w", err)
	}
	r.teardown = append(r.teardown, r.direct.Close)
	r.js, err = jetstream.New(r.direct)
	return err
}

// serversAnswer returns nil if NATS and Redis are as they should be.
func (r *run) serversAnswer(ctx context.Context) error {
	errs := []error{r.redis.answers(ctx)}
	for _, n := range r.nodes {
		errs = append(errs, n.healthy(ctx))
	}
	return errors.Join(errs...)
}

// prepare makes streams and tenants, starts the handlers, and prepares workers and load.
func (r *run) prepare(ctx context.Context) error {
	provision := exec.CommandContext(ctx, r.o.arrakis, "provision", "--apply") //nolint:gosec // just built
	provision.Env = append(os.Environ(), "NATS_URL="+r.direct.ConnectedUrl(), "STREAM_REPLICAS="+strconv.Itoa(len(r.nodes)))
	// A cluster that has just come up may not have a leader for a moment.
	bounded, cancel := context.WithTimeout(ctx, startWithin)
	defer cancel()
	err := poll(bounded, func() error {
		cmd := exec.CommandContext(bounded, provision.Path, provision.Args[1:]...) //nolint:gosec // as above
		cmd.Env = provision.Env
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("arrakis provision: %w: %s", err, out)
		}
		return r.shortenAckWaits(bounded)
	})
	if err != nil {
		return err
	}
	var tenants map[string]string
	r.limits, tenants = communities()
	for key, document := range tenants {
		if err := r.redis.client.Set(ctx, key, document, 0).Err(); err != nil {
			return fmt.Errorf("store tenants: %w", err)
		}
	}
	r.service = &service{nc: r.direct, ledger: r.ledger}
	if err := r.service.start(); err != nil {
		return err
	}
	if _, err := r.direct.Subscribe(inboxPrefix+"*", func(m *nats.Msg) { told(r.ledger, m.Data) }); err != nil {
		return err
	}
	n := newNetwork()
	for i := range workers {
		w, err := r.newWorker(n, i+1)
		if err != nil {
			return err
		}
		r.workers = append(r.workers, w)
	}
	if r.plan, err = plan(rand.New(rand.NewPCG(r.o.seed, 1)), r.o, r.redis.clock != ""); err != nil { //nolint:gosec // a plan, not a secret
		return err
	}
	for _, k := range r.plan {
		r.all += k.slots
	}
	r.load = &load{
		seed: r.o.seed, total: r.o.messages, js: r.js, token: ingressToken, ledger: r.ledger, quota: r.quota,
		ingress: func() string { return "http://" + r.workers[rand.IntN(len(r.workers))].http }, //nolint:gosec // any will do
	}
	return nil
}

// shortenAckWaits gives all consumers the ack wait of the run.
func (r *run) shortenAckWaits(ctx context.Context) error {
	return r.eachConsumer(ctx, func(stream jetstream.Stream, c *jetstream.ConsumerInfo) error {
		config := c.Config
		config.AckWait = ackWait
		_, err := stream.UpdateConsumer(ctx, config)
		return err
	})
}

// eachConsumer calls f with every consumer of every stream.
func (r *run) eachConsumer(ctx context.Context, f func(jetstream.Stream, *jetstream.ConsumerInfo) error) error {
	names := r.js.StreamNames(ctx)
	for name := range names.Name() {
		stream, err := r.js.Stream(ctx, name)
		if err != nil {
			return err
		}
		consumers := stream.ListConsumers(ctx)
		for c := range consumers.Info() {
			if err := f(stream, c); err != nil {
				return fmt.Errorf("consumer %s of %s: %w", c.Name, name, err)
			}
		}
		if err := consumers.Err(); err != nil {
			return err
		}
	}
	return names.Err()
}

// quota is how many messages may be published by now: as large a part of them as of the faults.
func (r *run) quota() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.slots >= r.all {
		return r.o.messages
	}
	if r.began.IsZero() {
		return 0
	}
	part := float64(time.Since(r.began)) / float64(slot)
	return int(float64(r.o.messages) * (float64(r.slots) + min(part, float64(r.current))) / float64(r.all))
}

// strike waits until all is ready, and then injects the faults while the load is published. It returns when both are
// over.
func (r *run) strike(ctx context.Context, progress io.Writer) error {
	if _, err := r.recovered(ctx); err != nil {
		return fmt.Errorf("before the first fault: %w; the logs are in %s", err, r.dir)
	}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return r.load.run(ctx) })
	g.Go(func() error {
		began := time.Now()
		draw := rand.New(rand.NewPCG(r.o.seed, 2)) //nolint:gosec // a plan, not a secret
		for _, k := range r.plan {
			r.enter(k)
			until := time.Now().Add(time.Duration(k.slots) * slot)
			if err := pause(ctx, between(draw, 0, slot/4)); err != nil {
				return err
			}
			f, err := r.hit(ctx, k, draw, began)
			if err != nil {
				return err
			}
			r.faults = append(r.faults, f)
			r.say(progress, fmt.Sprintf("%-26s %-40s for %5.1fs, all ready after %4.1fs",
				f.Kind, f.Target, f.For.Seconds(), f.Recovered.Seconds()))
			if err := pause(ctx, time.Until(until)); err != nil {
				return err
			}
			r.leave(k)
		}
		return nil
	})
	return g.Wait()
}

// hit injects one fault and waits until all is ready again.
func (r *run) hit(ctx context.Context, k faultKind, draw *rand.Rand, began time.Time) (fault, error) {
	f := fault{Kind: k.name, At: time.Since(began)}
	from := r.auditTime()
	err := k.inject(ctx, r, draw, &f)
	f.For = time.Since(began) - f.At
	if err == nil {
		f.Recovered, err = r.recovered(ctx)
	}
	if k.redisAway {
		r.away = append(r.away, outage{from: from, to: r.auditTime() + mergedWithin.Milliseconds()})
	}
	if err != nil {
		return f, fmt.Errorf("fault %q, %s: %w; the logs are in %s", f.Kind, f.Target, err, r.dir)
	}
	return f, nil
}

// recovered waits until all servers and workers are ready, and returns how long that took.
func (r *run) recovered(ctx context.Context) (time.Duration, error) {
	began := time.Now()
	ctx, cancel := context.WithTimeoutCause(ctx, recoverWithin, fmt.Errorf("not within %v", recoverWithin))
	defer cancel()
	err := poll(ctx, func() error {
		errs := []error{r.serversAnswer(ctx)}
		for _, w := range r.workers {
			errs = append(errs, w.ready(ctx))
		}
		return errors.Join(errs...)
	})
	return time.Since(began), err
}

// stepBack sets the clock of Redis back, and notes where.
func (r *run) stepBack(ctx context.Context, d time.Duration) error {
	offset, err := r.redis.step(ctx, -d)
	if err == nil {
		r.steps = append(r.steps, audit.Step{Offset: offset, Back: d.Milliseconds()})
		r.back += d
	}
	return err
}

// outage is a time in which a worker could not reach Redis, by the audit's clock.
type outage struct{ from, to int64 }

// mergedWithin is how long after an outage workers may take to tell Redis what they have admitted without it.
const mergedWithin = 5 * time.Second

// auditTime is the time now by the audit's clock: that of Redis, as if it had never been set back.
func (r *run) auditTime() int64 { return time.Now().Add(r.redis.offset + r.back).UnixMilli() }

// excused reports, under the policy local, whether Redis was away then. It is nil under the policy closed.
func (r *run) excused() func(at int64) bool {
	if r.o.onRedisDown == "closed" {
		return nil
	}
	return func(at int64) bool {
		return slices.ContainsFunc(r.away, func(o outage) bool { return o.from <= at && at <= o.to })
	}
}
