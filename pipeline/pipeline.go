package pipeline

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"arrakis/limiter"
	"arrakis/pipeline/contract"
	"arrakis/pipeline/streams"
	"arrakis/shard"
	"arrakis/tenant"
)

// Options configures a [Pipeline].
type Options struct {
	// NATS is the connection that everything uses. Required.
	NATS *nats.Conn
	// Streams says how missing streams and consumers are made.
	Streams streams.Options
	// Tenants is where tenants and flags are read. Required.
	Tenants *tenant.Store
	// Limiter decides. Its owner runs it. Required.
	Limiter *limiter.Limiter
	// Handlers are the Go functions that handle messages; what they do not
	// handle goes to NATS micro services. Defaults to none.
	Handlers *Handlers
	// Fallbacks handle what neither Handlers nor a micro service answers: a
	// service that is started takes over from them. Defaults to none.
	Fallbacks *Handlers
	// Shards, ShardMailbox, TenantCacheSize and TenantCacheTTL are those of
	// [shard.Options]. Default to 64, 1024, 100,000 and 30 s.
	Shards, ShardMailbox, TenantCacheSize int
	TenantCacheTTL                        time.Duration
	// HandlerConcurrency is how many handlers run at once. Defaults to 256.
	HandlerConcurrency int
	// HandlerTimeout is the time for one handler. Defaults to 15 s.
	HandlerTimeout time.Duration
	// MaxAttempts is how often a message is handled before it becomes a dead
	// letter. Defaults to 3.
	MaxAttempts int
	// CommandTTL is the age past which a command is not charged or handled,
	// but reported expired. 0 is never, which is the default.
	CommandTTL time.Duration
	// MetricsMaxTenants is how many communities have metrics of their own.
	// Defaults to 10,000.
	MetricsMaxTenants int
	// ShutdownTimeout is the time for work in flight once Run's context has
	// ended. Defaults to 30 s.
	ShutdownTimeout time.Duration
	// Logger defaults to none.
	Logger *slog.Logger
	// Registerer gets the metrics. Defaults to none.
	Registerer prometheus.Registerer
}

func (o Options) withDefaults() Options {
	o.Shards = cmp.Or(o.Shards, 64)
	o.ShardMailbox = cmp.Or(o.ShardMailbox, 1024)
	o.TenantCacheSize = cmp.Or(o.TenantCacheSize, 100_000)
	o.TenantCacheTTL = cmp.Or(o.TenantCacheTTL, 30*time.Second)
	o.HandlerConcurrency = cmp.Or(o.HandlerConcurrency, 256)
	o.HandlerTimeout = cmp.Or(o.HandlerTimeout, 15*time.Second)
	o.MaxAttempts = cmp.Or(o.MaxAttempts, 3)
	o.MetricsMaxTenants = cmp.Or(o.MetricsMaxTenants, 10_000)
	o.ShutdownTimeout = cmp.Or(o.ShutdownTimeout, 30*time.Second)
	o.Streams.MaxAckPending = cmp.Or(o.Streams.MaxAckPending, 10_000)
	if o.Handlers == nil {
		o.Handlers = NewHandlers()
	}
	if o.Fallbacks == nil {
		o.Fallbacks = NewHandlers()
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return o
}

func (o Options) validate() error {
	var errs []error
	if o.NATS == nil {
		errs = append(errs, errors.New("pipeline: NATS is required"))
	}
	for _, f := range []struct {
		name  string
		value int64
		least int64
	}{
		{"HandlerConcurrency", int64(o.HandlerConcurrency), 1},
		{"HandlerTimeout", int64(o.HandlerTimeout), 1},
		{"MaxAttempts", int64(o.MaxAttempts), 1},
		{"CommandTTL", int64(o.CommandTTL), 0},
		{"MetricsMaxTenants", int64(o.MetricsMaxTenants), 1},
		{"ShutdownTimeout", int64(o.ShutdownTimeout), 1},
	} {
		if f.value < f.least {
			errs = append(errs, fmt.Errorf("pipeline: %s is %d, want at least %d", f.name, f.value, f.least))
		}
	}
	return errors.Join(errs...)
}

// Pipeline is the worker of one process. New makes it, Run runs it once.
type Pipeline struct {
	// Set by New, read-only.
	o       Options
	log     *slog.Logger
	js      jetstream.JetStream
	shards  *shard.Pool[*delivery]
	sources []*source
	metrics *metrics
	known   *names
	// featuresOf is the method features, as one value for all messages.
	featuresOf func(*tenant.Tenant) []string

	admitted *fairQueue                   // filled by the shards, emptied by the handle stage's workers
	finished *shard.Mailbox[*delivery]    // filled by the first three stages, emptied by the metrics stage
	flags    atomic.Pointer[tenant.Flags] // written by refresh, read by handlers
	letters  chan *delivery               // to be buried: sent and closed by the metrics stage, received by its writers
	unstored atomic.Bool                  // dead letters cannot be stored now: it has been logged

	refreshing sync.Mutex  // held while tiers and flags are read
	outdated   atomic.Bool // the last reading has failed

	ensuring sync.Mutex // held while streams are made; protects ensured
	ensured  time.Time
}

// abortGrace is what the stages have to end once work has been aborted.
const abortGrace = 2 * time.Second

// New makes a pipeline. It reports all faults of the options at once, and
// starts nothing.
func New(o Options) (*Pipeline, error) {
	o = o.withDefaults()
	if err := o.validate(); err != nil {
		return nil, err
	}
	js, err := jetstream.New(o.NATS)
	if err != nil {
		return nil, fmt.Errorf("pipeline: %w", err)
	}
	p := &Pipeline{
		o:        o,
		log:      o.Logger.With("component", "pipeline"),
		js:       js,
		known:    newNames(o.Handlers, o.Fallbacks),
		finished: shard.NewMailbox[*delivery](finishedQueue),
		letters:  make(chan *delivery, letterQueue),
	}
	for kind := range contract.Kind(contract.NumKinds) {
		p.sources = append(p.sources, newSource(js, kind.Route(), o.Logger))
	}
	// Room for all that the consumers may have outstanding: a shard never waits for a handler.
	p.admitted = newFairQueue(len(p.sources)*max(o.Streams.MaxAckPending, pullBatch), o.HandlerConcurrency)
	p.flags.Store(&tenant.Flags{})
	p.featuresOf = p.features
	p.shards, err = shard.NewPool[*delivery](shard.Options{
		Tenants: o.Tenants, Limits: o.Limiter, Shards: o.Shards, Mailbox: o.ShardMailbox,
		CacheSize: o.TenantCacheSize, CacheTTL: o.TenantCacheTTL, Logger: o.Logger, Registerer: o.Registerer,
	})
	if err != nil {
		return nil, err
	}
	if p.metrics, err = newMetrics(o.Registerer, o.MetricsMaxTenants, p.known); err != nil {
		return nil, err
	}
	return p, registerGauges(o.Registerer, p.sources, p.admitted)
}

// Run makes the streams that are missing and works until ctx ends. Then it
// stops pulling, lets every stage finish what it has, front to back, and
// returns nil; what takes longer than ShutdownTimeout is aborted and given back
// to JetStream. Any other return is an error with which the process cannot go on.
func (p *Pipeline) Run(ctx context.Context) error {
	if !p.waitForStreams(ctx) {
		return nil
	}
	p.refresh(ctx)

	// work outlives ctx by the time for the shutdown.
	work, abort := context.WithCancel(context.WithoutCancel(ctx))
	defer abort()
	intake, stop := context.WithCancel(ctx)
	defer stop()
	timer := time.AfterFunc(math.MaxInt64, abort)
	defer timer.Stop()
	defer context.AfterFunc(intake, func() {
		p.log.InfoContext(work, "draining: not pulling any more", "timeout", p.o.ShutdownTimeout.String())
		timer.Reset(p.o.ShutdownTimeout)
	})()

	var stages errgroup.Group
	stage := func(name string, run func() error, then func()) {
		stages.Go(func() error {
			defer then()
			err := run()
			p.log.DebugContext(work, "stage ended", "stage", name, "err", err)
			if err != nil && work.Err() == nil {
				stop() // the others drain
				return fmt.Errorf("%s: %w", name, err)
			}
			return nil
		})
	}
	stage("decode", func() error { return p.intake(intake, work) }, p.shards.Close)
	stage("limit", func() error { return p.shards.Run(work, p.limited) }, p.admitted.close)
	stage("handle", func() error { return p.handle(work) }, p.finished.Close)
	stage("metrics", func() error { return p.finish(work) }, func() {})
	if err := p.waitForStages(work, &stages); err != nil {
		return err
	}
	// The last acks are on their way when the server has seen a ping behind them.
	err := nats.ErrDisconnected
	if p.o.NATS.IsConnected() {
		err = p.o.NATS.FlushTimeout(requestTimeout)
	}
	if err != nil {
		p.log.WarnContext(work, "the last acknowledgements may be lost: their messages will be delivered again", "err", err)
	}
	return nil
}

// waitForStages waits for the stages to end. Once work has been aborted they
// have a moment: only a handler that ignores its context takes longer, and
// for it the process must not hang.
func (p *Pipeline) waitForStages(work context.Context, stages *errgroup.Group) error {
	ended := make(chan error, 1)
	go func() { ended <- stages.Wait() }()
	select {
	case err := <-ended:
		return err
	case <-work.Done():
	}
	select {
	case err := <-ended:
		return err
	case <-time.After(abortGrace):
		return fmt.Errorf("aborted handlers still run: %s; a handler must return when its context ends", p.admitted.names())
	}
}

// waitForStreams makes the streams that are missing, and tries until it has,
// or ctx ends.
func (p *Pipeline) waitForStreams(ctx context.Context) bool {
	for attempt := 1; ctx.Err() == nil; attempt++ {
		err := p.ensure(ctx)
		if err == nil {
			return true
		}
		delay := backoff(attempt)
		p.log.WarnContext(ctx, "streams cannot be made or checked: trying again", "err", err, "delay", delay.String())
		select {
		case <-ctx.Done():
		case <-time.After(delay):
		}
	}
	return false
}

// intake runs the sources and their decoders until intake ends.
func (p *Pipeline) intake(intake, work context.Context) error {
	g, intake := errgroup.WithContext(intake)
	g.Go(func() error { p.keepFresh(intake); return nil })
	for _, src := range p.sources {
		g.Go(func() error { src.run(intake, work, p.ensure); return nil })
		g.Go(func() error { src.watch(intake); return nil })
		g.Go(func() error { return p.decode(work, src) })
	}
	return g.Wait()
}

// ensure makes missing streams and consumers. Those who miss one at the same
// time wait for one of them to do it.
func (p *Pipeline) ensure(ctx context.Context) error {
	p.ensuring.Lock()
	defer p.ensuring.Unlock()
	if time.Since(p.ensured) < rejoinDelay {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, 4*requestTimeout)
	defer cancel()
	if err := streams.Ensure(ctx, p.js, p.o.Streams, p.o.Logger); err != nil {
		return err
	}
	p.ensured = time.Now()
	return nil
}

// Ready returns nil while all consumers are being pulled from, else why not.
func (p *Pipeline) Ready() error {
	var errs []error
	for _, s := range p.sources {
		if !s.pulling.Load() {
			errs = append(errs, fmt.Errorf("consumer %s: not pulling", s.route.Consumer))
		}
	}
	return errors.Join(errs...)
}
