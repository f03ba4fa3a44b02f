package main

import (
	"context"
	"errors"
	"fmt"
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
	"github.com/redis/go-redis/v9"
	"golang.org/x/sync/errgroup"

	"arrakis/loadtest/faults/audit"
	"arrakis/loadtest/program"
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

	nodes   []*program.NATS
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
	carried  carried      // owned by watchLanes
	killings atomic.Int64 // workers that messages have killed
	teardown []func()

	mu      sync.Mutex // protects the fields below
	slots   int        // that are over
	all     int        // slots of the plan
	current int        // slots of the fault that is on
	began   time.Time  // of the current slot
	now     string     // the fault that is on
	faults  []fault    // that are over
	dropped map[string]uint64
	beyond  []beyond
}

// result is what a run has shown.
type result struct {
	Seed     uint64
	Took     time.Duration
	Faults   []fault
	Messages audit.Result
	Windows  audit.Windows
	Without  []string // messages for which a handler has run though Redis had not admitted them yet
	TooMany  []string // attempts beyond the last, as sentences
	Crashes  []string // processes that ended by themselves
	Problems []string // anything else that must not be
	Refused  int64    // publishes that a full stream has refused
	Retried  int64
	Killings int64
	Carried  carried
	Redis    string // version
	Dir      string // files, if they were kept
}

// failed reports whether anything was lost, exceeded or otherwise wrong.
func (r *result) failed() bool {
	return r.Messages.Endings[audit.Lost]+r.Messages.Endings[audit.Unfinished]+r.Windows.Over > 0 ||
		r.Messages.Acknowledged < r.Messages.Published ||
		len(r.Messages.Wrong)+len(r.Without)+len(r.TooMany)+len(r.Crashes)+len(r.Problems) > 0
}

// runOnce makes a run in dir, which exists.
func runOnce(ctx context.Context, o options, dir string, p *program.Progress) (*result, error) {
	r := &run{o: o, dir: dir, ledger: audit.NewLedger(), dropped: map[string]uint64{}}
	r.carried.opened = map[string]struct{}{}
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
		supervisors.Go(func() error { return w.Supervise(working) })
	}
	watchers.Go(func() error { r.watchDropped(watching); return nil })
	watchers.Go(func() error { r.watchLanes(watching); return nil })
	watchers.Go(func() error { p.Report(watching, r.status); return nil })
	failed := r.strike(ctx, p)
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
	for _, each := range r.processes() {
		res.Crashes = append(res.Crashes, each.Unasked()...)
	}
	if err := r.readCarried(ctx); err != nil {
		return nil, err
	}
	res.Carried = r.carried
	res.Problems = append(res.Problems, res.Carried.unused()...)
	err := r.audit(ctx, res)
	if res.Windows.Reserved == 0 {
		res.Problems = append(res.Problems, "no permit was reserved for later")
	}
	return res, err
}

// processes are all processes of the run.
func (r *run) processes() []*program.Process {
	all := []*program.Process{r.redis.Process}
	for _, n := range r.nodes {
		all = append(all, n.Process)
	}
	for _, w := range r.workers {
		all = append(all, w.Process)
	}
	return all
}

// startServers starts NATS and Redis, and makes the connections that no fault touches.
func (r *run) startServers(ctx context.Context) (err error) {
	if r.nodes, err = program.NewNATS(r.dir, r.o.nodes); err != nil {
		return err
	}
	if r.redis, err = newRedisServer(r.dir); err != nil {
		return err
	}
	servers := []*program.Process{r.redis.Process}
	var urls []string
	for _, n := range r.nodes {
		servers = append(servers, n.Process)
		urls = append(urls, "nats://"+n.Addr)
	}
	for _, p := range servers {
		if err := p.Start(); err != nil {
			return err
		}
		r.teardown = append(r.teardown, p.Kill)
	}
	r.teardown = append(r.teardown, func() { _ = r.redis.client.Close() }) // nobody uses it any more
	bounded, cancel := context.WithTimeout(ctx, startWithin)
	defer cancel()
	if err := program.Poll(bounded, func() error { return r.serversAnswer(bounded) }); err != nil {
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
		errs = append(errs, n.Healthy(ctx))
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
	err := program.Poll(bounded, func() error {
		cmd := exec.CommandContext(bounded, provision.Path, provision.Args[1:]...) //nolint:gosec // as above
		cmd.Env = provision.Env
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("arrakis provision: %w: %s", err, out)
		}
		return program.SetAckWaits(bounded, r.js, ackWait)
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
	if err := r.fillWindow(ctx); err != nil {
		return fmt.Errorf("fill the window of %s: %w", patient, err)
	}
	r.service = &service{nc: r.direct, ledger: r.ledger, begin: r.begin}
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

// fillWindow gives the patient community a full window of admissions, at even distances.
func (r *run) fillWindow(ctx context.Context) error {
	now, err := r.redis.client.Time(ctx).Result()
	if err != nil {
		return err
	}
	key := limitKey(patient, command.action)
	limit := r.limits[key]
	admissions := make([]redis.Z, limit.Max)
	for i := range admissions {
		at := now.UnixMilli() - limit.Window + int64(i+1)*limit.Window/int64(limit.Max)
		admissions[i] = redis.Z{Score: float64(at), Member: fmt.Sprintf("before-%d", i)}
	}
	return r.redis.client.ZAdd(ctx, key, admissions...).Err()
}
