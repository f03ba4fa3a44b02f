package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/redis/go-redis/v9"
	"golang.org/x/sync/errgroup"

	"arrakis/limiter"
	"arrakis/pipeline"
	"arrakis/pipeline/http/ingress"
	"arrakis/pipeline/http/ops"
	"arrakis/pipeline/streams"
	"arrakis/tenant"
	"arrakis/tenant/store"
	"arrakis/tenant/watch"
)

// workerConfig is what `dev`, `serve` and the end-to-end tests give a worker.
type workerConfig struct {
	http      httpSettings
	worker    workerSettings
	tenants   tenantSettings
	streams   streams.Options
	fallbacks func(*limiter.Limiter) *pipeline.Handlers // built-in handlers, which yield to micro services; nil for none
	nats      *nats.Conn                                // the caller closes it after Run
	redis     redis.UniversalClient                     // the caller closes it after Run
	log       *slog.Logger
}

// worker is all parts of one process.
type worker struct {
	c        workerConfig
	limiter  *limiter.Limiter
	tenants  *store.Store
	pipeline *pipeline.Pipeline
	ingress  *ingress.Ingress
	health   *ops.Health
	registry *prometheus.Registry

	// Bound, so that their addresses are known before anything is served.
	httpListener net.Listener
	opsListener  net.Listener
	opsServer    *http.Server
}

// newWorker builds the parts in the order in which they need each other, and
// binds the addresses. Nothing runs, and NATS and Redis may still be away. A
// worker that is not run must be closed.
func newWorker(c workerConfig) (*worker, error) {
	w := &worker{c: c, registry: newRegistry()}
	var err error
	w.limiter, err = limiter.New(c.redis, limiter.Options{
		OnRedisDown: c.tenants.policy(), MaxKeys: c.tenants.TenantCacheSize, Logger: c.log, Registerer: w.registry,
	})
	if err != nil {
		return nil, err
	}
	w.tenants = store.New(c.redis, store.Options{Source: source(), Logger: c.log})
	o := pipeline.Options{
		NATS: c.nats, Streams: c.streams, Tenants: w.tenants, Limiter: w.limiter,
		Shards: c.worker.Shards, ShardMailbox: c.worker.ShardMailbox,
		HandlerConcurrency: c.worker.HandlerConcurrency, HandlerTimeout: c.worker.HandlerTimeout,
		MaxAttempts: c.worker.MaxAttempts, CommandTTL: c.worker.CommandTTL,
		TenantCacheSize: c.tenants.TenantCacheSize, TenantCacheTTL: c.tenants.TenantCacheTTL,
		MetricsMaxTenants: c.tenants.MetricsMaxTenants,
		ShutdownTimeout:   c.worker.ShutdownTimeout - ingressDrain(c.worker.ShutdownTimeout),
		Logger:            c.log, Registerer: w.registry,
	}
	if c.fallbacks != nil {
		o.Fallbacks = c.fallbacks(w.limiter)
	}
	if w.pipeline, err = pipeline.New(o); err != nil {
		return nil, err
	}
	w.ingress, err = ingress.New(ingress.Options{
		NATS: c.nats, Token: c.http.IngressToken, DrainTimeout: ingressDrain(c.worker.ShutdownTimeout),
		Logger: c.log, Registerer: w.registry,
	})
	if err != nil {
		return nil, err
	}
	w.health = w.newHealth()
	if err := w.listen(); err != nil {
		return nil, err
	}
	if w.opsServer, err = w.newOpsServer(); err != nil {
		w.close()
		return nil, err
	}
	return w, nil
}

// ingressDrain is the part of the shutdown that requests in flight have to get
// their outcome; what handlers still do has the rest.
func ingressDrain(shutdown time.Duration) time.Duration { return shutdown / 3 }

func newRegistry() *prometheus.Registry {
	r := prometheus.NewRegistry()
	b := buildInfo()
	info := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "arrakis_build_info", Help: "The build that runs, as labels. Always 1.",
		ConstLabels: prometheus.Labels{"version": b.Version, "goversion": b.Go, "revision": b.Commit},
	})
	info.Set(1)
	r.MustRegister(info, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return r
}

// source names this process in the changes that it announces.
func source() string {
	host, err := os.Hostname()
	if err != nil {
		return "worker"
	}
	return "worker:" + host
}

// listen binds both addresses.
func (w *worker) listen() (err error) {
	if w.httpListener, err = net.Listen("tcp", w.c.http.HTTPAddr); err != nil {
		return fmt.Errorf("listen for the ingress: %w; choose another address with --http-addr or HTTP_ADDR", err)
	}
	if w.opsListener, err = net.Listen("tcp", w.c.http.OpsAddr); err != nil {
		_ = w.httpListener.Close() // nothing has been accepted
		return fmt.Errorf("listen for the ops address: %w; choose another address with --ops-addr or OPS_ADDR", err)
	}
	return nil
}

// Run runs all parts until ctx ends or one of them fails, and returns when all
// have ended. They end front to back, each after those that feed it: the
// ingress, which lets requests in flight get their outcome; the pipeline, which
// finishes what it has pulled; then the rest.
func (w *worker) Run(ctx context.Context) error {
	lasting := context.WithoutCancel(ctx)
	front, stopFront := context.WithCancel(ctx)
	defer stopFront()
	middle, stopMiddle := context.WithCancel(lasting)
	defer stopMiddle()
	back, stopBack := context.WithCancel(lasting)
	defer stopBack()
	defer context.AfterFunc(front, func() {
		w.c.log.Info("shutting down", "timeout", w.c.worker.ShutdownTimeout.String())
		w.health.SetDraining()
	})()

	var g errgroup.Group
	part := func(name string, run func() error, then func()) {
		g.Go(func() error {
			defer then()
			err := run()
			w.c.log.Debug("part ended", "part", name, "err", err)
			if err != nil {
				stopFront() // the others drain
				return fmt.Errorf("%s: %w", name, err)
			}
			return nil
		})
	}
	part("ingress", func() error { return w.ingress.Run(front) }, stopMiddle)
	part("pipeline", func() error { return w.work(middle) }, func() { stopFront(); stopBack() })
	part("limiter", func() error { return w.limiter.Run(back) }, stopFront)
	part("reload", func() error { return w.newWatcher(back).Run(back) }, stopFront)
	part("http", func() error { return serve(back, w.ingress.Server(w.httpHandler()), w.httpListener) }, stopFront)
	part("ops", func() error { return serve(back, w.opsServer, w.opsListener) }, stopFront)
	return g.Wait()
}

// work waits for what the pipeline needs, and runs it until ctx ends.
func (w *worker) work(ctx context.Context) error {
	if err := waitForBackends(ctx, w.c.nats, w.c.redis, w.c.log); err != nil {
		if ctx.Err() != nil {
			return nil //nolint:nilerr // stopped while waiting, which is no failure
		}
		return err
	}
	return w.pipeline.Run(ctx)
}

// newWatcher makes the watcher that puts changes in force until ctx ends.
func (w *worker) newWatcher(ctx context.Context) *watch.Watcher {
	return watch.New(w.c.redis, watch.Options{
		// A little sooner, so that what a poll finds is in force within the interval: a change of all tenants is spread.
		PollInterval: w.c.tenants.ReloadPollInterval * 9 / 10, Logger: w.c.log, Registerer: w.registry,
		OnEvent: func(e tenant.Event, _ watch.Way) {
			if err := w.pipeline.Reload(ctx, e); err != nil && ctx.Err() == nil {
				w.c.log.Error("a change is not in force yet", "type", e.Type, "target", e.TargetID, "err", err)
			}
		},
	})
}

// serve serves until ctx ends, then lets what is being answered finish.
func serve(ctx context.Context, s *http.Server, l net.Listener) error {
	const finish = 2 * time.Second // requests have been drained before; this is for the last bytes
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		if err := s.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			return err
		}
		return nil
	})
	g.Go(func() error {
		<-ctx.Done()
		limited, cancel := context.WithTimeout(context.WithoutCancel(ctx), finish)
		defer cancel()
		if err := s.Shutdown(limited); err != nil {
			return s.Close()
		}
		return nil
	})
	return g.Wait()
}

// close frees what newWorker has bound. After Run there is nothing left to do.
func (w *worker) close() {
	_ = w.httpListener.Close() // nothing has been accepted
	_ = w.opsListener.Close()
}
