package worker

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"arrakis/limiter"
	"arrakis/pipeline"
	"arrakis/pipeline/http/ingress"
	"arrakis/pipeline/http/live"
	"arrakis/pipeline/http/ops"
	"arrakis/pipeline/tracing"
	"arrakis/shard"
	"arrakis/tenant"
	"arrakis/tenant/store"
	"arrakis/tenant/watch"
)

// Worker holds all parts of one process. New makes a Worker; Run runs it once. Its methods are safe for concurrent use.
type Worker struct {
	// Set by New, read-only.
	o          Options
	limiter    *limiter.Limiter
	tenants    *store.Store
	directory  *store.Directory
	watcher    *watch.Watcher
	pipeline   *pipeline.Pipeline
	tracer     *tracing.Tracer // nil without Options.Traces
	health     *ops.Health
	heart      *heart
	hub        *live.Hub        // nil without Options.Ops
	ingress    *ingress.Ingress // nil without Options.HTTP
	httpServer *http.Server     // nil without Options.HTTP
	opsServer  *http.Server     // nil without Options.Ops
	flushTime  time.Duration    // flushTime, but in a test
	ended      chan struct{}    // Run closes it when it returns
	started    atomic.Bool      // by Run

	awaitsRedis atomic.Bool // the start waits for Redis; written by waitForRedis
}

// New makes a Worker and starts nothing; NATS and Redis may still be away. An error names faults of the options.
func New(o Options) (*Worker, error) {
	o = o.withDefaults()
	if err := o.validate(); err != nil {
		return nil, err
	}
	w := &Worker{o: o, flushTime: flushTime, ended: make(chan struct{})}
	var err error
	w.limiter, err = limiter.New(o.Redis, limiter.Options{
		OnRedisDown: o.OnRedisDown, MaxKeys: o.TenantCacheSize, Logger: o.Logger, Registerer: o.Registry,
	})
	if errors.As(err, new(prometheus.AlreadyRegisteredError)) {
		return nil, fmt.Errorf("worker: Registry has these metrics already, from another worker or a New that failed: %w", err)
	}
	if err != nil {
		return nil, err
	}
	so := store.Options{Source: o.Name, Logger: o.Logger}
	if o.Record != nil {
		so.SystemOfRecord = o.Record
	}
	w.tenants = store.New(o.Redis, so)
	w.directory = store.NewDirectory(w.tenants)
	w.tracer = tracing.New(o.Traces, o.Registry)
	po := w.pipelineOptions()
	if po.Discord, err = w.newAnswers(); err != nil {
		return nil, err
	}
	if w.pipeline, err = pipeline.New(po); err != nil {
		return nil, err
	}
	w.watcher = watch.New(o.Redis, watch.Options{
		// A poll comes a little before the interval has passed, because a change of all tenants takes effect over a
		// short time after it is found. So the change is in force within the interval.
		PollInterval: o.ReloadPollInterval * 9 / 10, Logger: o.Logger, Registerer: o.Registry, OnEvent: w.reload,
	})
	w.health = w.newHealth()
	w.heart = w.newHeart()
	if err := w.o.Registry.Register(w.health); err != nil {
		return nil, fmt.Errorf("worker: %w", err)
	}
	if o.HTTP != nil {
		if err := w.addIngress(); err != nil {
			return nil, err
		}
	}
	if o.Ops != nil {
		if err := w.addOps(); err != nil {
			return nil, err
		}
	}
	w.o.IngressTokens, w.o.AdminTokens, w.o.ViewTokens, w.o.NamedTokens = nil, nil, nil, nil // only their digests are kept
	return w, nil
}

func (w *Worker) pipelineOptions() pipeline.Options {
	o := &w.o
	return pipeline.Options{
		NATS: o.NATS, Streams: o.Streams, Tenants: w.tenants, Limiter: w.limiter, Redis: o.Redis,
		Handlers: o.Handlers, Fallbacks: o.Fallbacks,
		Shards: o.Shards, ShardMailbox: o.ShardMailbox,
		HandlerConcurrency: o.HandlerConcurrency, TenantConcurrency: o.TenantConcurrency, HandlerTimeout: o.HandlerTimeout,
		MaxAttempts: o.MaxAttempts, RetryBackoff: o.RetryBackoff, RetryUntil: o.RetryUntil,
		CommandTTL: max(o.CommandTTL, 0), OverloadAge: max(o.OverloadAge, 0),
		TenantCacheSize: o.TenantCacheSize, TenantCacheTTL: o.TenantCacheTTL,
		MetricsMaxTenants: o.MetricsMaxTenants, ShutdownTimeout: o.ShutdownTimeout - lastAnswers(o.ShutdownTimeout),
		Tracer: w.tracer, Logger: o.Logger, Registerer: o.Registry,
	}
}

// ShutdownTimeout is divided into three parts: ingressDrain, in which requests in flight can get their outcome; the
// time of the pipeline, which includes what the ingress did not need, and the time to give messages back; lastAnswers,
// the last part, in which the HTTP servers send their last bytes, spans are flushed and everything is closed.

func ingressDrain(shutdown time.Duration) time.Duration { return max(1, shutdown/3) } // 0 would be the default

func lastAnswers(shutdown time.Duration) time.Duration { return min(shutdown/10, time.Second) }

// Run runs all parts until ctx ends or one part fails. It returns when all parts have ended, within ShutdownTimeout;
// see the package comment. It closes the listeners.
func (w *Worker) Run(ctx context.Context) error {
	if w.started.Swap(true) {
		return errors.New("worker: Run was called before")
	}
	defer close(w.ended)
	lasting := context.WithoutCancel(ctx)
	front, stopFront := context.WithCancel(ctx)
	defer stopFront()
	middle, stopMiddle := context.WithCancel(lasting)
	defer stopMiddle()
	back, stopBack := context.WithCancel(lasting)
	defer stopBack()
	late := make(chan struct{})
	timer := time.AfterFunc(math.MaxInt64, func() { close(late) })
	defer timer.Stop()
	defer context.AfterFunc(front, func() {
		timer.Reset(w.o.ShutdownTimeout - lastAnswers(w.o.ShutdownTimeout)/4)
		w.o.Logger.Info("shutting down", "timeout", w.o.ShutdownTimeout.String())
		w.health.SetDraining()
	})()

	var g errgroup.Group
	var running sync.Map // names of parts
	part := func(name string, run func() error, then func()) {
		running.Store(name, nil)
		g.Go(func() error {
			defer then()
			err := run()
			running.Delete(name)
			w.o.Logger.Debug("part ended", "part", name, "err", err)
			if err != nil {
				stopFront() // the other parts drain
				return fmt.Errorf("%s: %w", name, err)
			}
			return nil
		})
	}
	if w.ingress != nil {
		part("ingress", func() error { return w.ingress.Run(front) }, stopMiddle)
		part("http", func() error { return w.serve(back, w.httpServer, w.o.HTTP) }, stopFront)
	} else {
		defer context.AfterFunc(front, stopMiddle)()
	}
	part("pipeline", func() error { return w.work(middle, front) }, func() { stopFront(); stopBack() })
	part("nats", func() error { return w.watchConnection(back) }, stopFront)
	part("limiter", func() error { return w.limiter.Run(back) }, stopFront)
	part("reload", func() error { return w.watcher.Run(back) }, stopFront)
	if w.o.Record != nil {
		part("record", func() error { return w.o.Record.Run(back, w.tenants.Mirror()) }, stopFront)
	}
	part("fleet", func() error { return w.heart.publish(back) }, func() {})
	if w.opsServer != nil {
		part("directory", func() error { return w.directory.Run(back) }, stopFront)
		part("live", func() error { w.hub.Run(back); return nil }, func() {})
		part("ops", func() error { return w.serve(back, w.opsServer, w.o.Ops) }, stopFront)
	}
	part("traces", func() error { w.flushTraces(back, front); return nil }, func() {})
	return w.await(&g, &running, late)
}

// flushTime is how long a shutdown waits for the collector of traces, at most, even if there is more time.
const flushTime = 2 * time.Second

// flushTraces flushes the spans once all messages have ended, which is when back ends. front has ended when the shutdown
// began. Spans that the collector does not take in time are lost: nothing else depends on them.
func (w *Worker) flushTraces(back, front context.Context) {
	<-front.Done()
	began := time.Now()
	<-back.Done()
	provider, ok := w.o.Traces.Provider.(interface {
		ForceFlush(ctx context.Context) error
	})
	if !ok {
		return
	}
	last := began.Add(w.o.ShutdownTimeout - lastAnswers(w.o.ShutdownTimeout)/2)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(back), min(w.flushTime, time.Until(last)))
	defer cancel()
	if err := provider.ForceFlush(ctx); err != nil {
		w.o.Logger.Warn("the last traces may be lost: the collector has not taken them in time", "err", err)
	}
}

// await waits for all parts. When late is closed, it returns an error that names the running ones.
func (w *Worker) await(parts *errgroup.Group, running *sync.Map, late <-chan struct{}) error {
	ended := make(chan error, 1)
	go func() { ended <- parts.Wait() }() // outlives Run only if a part does not end in time
	select {
	case err := <-ended:
		return err
	case <-late:
		var names []string
		running.Range(func(name, _ any) bool { names = append(names, fmt.Sprint(name)); return true })
		slices.Sort(names)
		return fmt.Errorf("not ended within the ShutdownTimeout of %s: %s", w.o.ShutdownTimeout, strings.Join(names, ", "))
	}
}

// watchConnection returns an error when the connection to NATS is closed, because a closed one never reconnects.
func (w *Worker) watchConnection(ctx context.Context) error {
	closed := w.o.NATS.StatusChanged(nats.CLOSED)
	defer w.o.NATS.RemoveStatusListener(closed)
	if !w.o.NATS.IsClosed() {
		select {
		case <-ctx.Done():
			return nil
		case <-closed:
		}
	}
	return errors.New("the connection is closed and does not reconnect; see Options.NATS")
}

// work waits for the servers, and then runs the pipeline until ctx ends. The time of the shutdown counts from the end
// of shutdown.
func (w *Worker) work(ctx, shutdown context.Context) error {
	if err := w.waitForServers(ctx); err != nil {
		if ctx.Err() != nil {
			return nil //nolint:nilerr // stopped while waiting is not a failure
		}
		return err
	}
	return w.pipeline.Run(ctx, shutdown)
}

// reload puts a change of configuration in force.
func (w *Worker) reload(ctx context.Context, e tenant.Event, _ watch.Way) {
	w.directory.Changed(e)
	if err := w.pipeline.Reload(ctx, e); err != nil && ctx.Err() == nil {
		w.o.Logger.Error("a change of configuration is not in force yet", "type", e.Type, "target", e.TargetID, "err", err)
	}
	w.changed(e)
}

// Ready returns nil while messages of every kind are pulled and JetStream works. Otherwise the error says which stream
// or consumer does not work, and why.
func (w *Worker) Ready() error { return w.pipeline.Ready() }

// AwaitReady waits until Ready returns nil. It returns an error when ctx ends or Run returns before that. The error
// says what is not ready.
func (w *Worker) AwaitReady(ctx context.Context) error {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		err := w.Ready()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", context.Cause(ctx), err)
		case <-w.ended:
			return fmt.Errorf("the worker has ended: %w", err)
		case <-tick.C:
		}
	}
}

// Usage returns how much of its limits a tenant has used. The tenant is usually that of a [pipeline.Message]. Usage
// costs a round trip to Redis. Errors: [redishealth.ErrAway], and ctx's.
func (w *Worker) Usage(ctx context.Context, t *tenant.Tenant) (shard.Usage, error) {
	return shard.UsageOf(ctx, w.limiter, t)
}
