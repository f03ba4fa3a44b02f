package main

import (
	"errors"
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"arrakis/pipeline/worker"
)

// workerOptions makes the worker's options from the settings of `dev` and `serve`.
func workerOptions(h *httpSettings, w *workerSettings, t *tenantSettings) worker.Options {
	o := worker.Options{
		IngressTokens: commaList(h.IngressToken), AdminTokens: commaList(h.AdminToken), ViewTokens: commaList(h.ViewToken), NamedTokens: h.namedTokens(),
		OpsHosts: h.opsHosts(),
		Shards:   w.Shards, ShardMailbox: w.ShardMailbox,
		HandlerConcurrency: w.HandlerConcurrency, TenantConcurrency: w.TenantConcurrency, HandlerTimeout: w.HandlerTimeout,
		MaxAttempts: w.MaxAttempts, RetryBackoff: w.RetryBackoff.list(), RetryUntil: w.RetryUntil,
		CommandTTL: w.CommandTTL, OverloadAge: w.OverloadAge, ShutdownTimeout: w.ShutdownTimeout,
		TenantCacheSize: t.TenantCacheSize, TenantCacheTTL: t.TenantCacheTTL,
		ReloadPollInterval: t.ReloadPollInterval, OnRedisDown: t.policy(), MetricsMaxTenants: t.MetricsMaxTenants,
		Registry: newRegistry(),
	}
	if w.CommandTTL == 0 {
		o.CommandTTL = worker.Never
	}
	if w.OverloadAge == 0 {
		o.OverloadAge = worker.Never
	}
	return o
}

// newRegistry makes a registry with the metrics of the process: its build, the Go runtime and the system.
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

// newWorker makes a worker that serves on the addresses that listen has bound.
func newWorker(o *worker.Options) (*worker.Worker, error) {
	w, err := worker.New(*o)
	if err != nil {
		return nil, errors.Join(err, o.HTTP.Close(), o.Ops.Close())
	}
	return w, nil
}

// listen binds both addresses, so that their ports are known before the worker serves them.
func (s *httpSettings) listen(o *worker.Options) (err error) {
	if o.HTTP, err = listenTLS("http", s.HTTPAddr, s.http(), o); err != nil {
		return fmt.Errorf("listen for the ingress: %w; choose another address with --http-addr or HTTP_ADDR", err)
	}
	if o.Ops, err = listenTLS("ops", s.OpsAddr, s.ops(), o); err != nil {
		_ = o.HTTP.Close() // nothing has been accepted
		return fmt.Errorf("listen for the ops address: %w; choose another address with --ops-addr or OPS_ADDR", err)
	}
	return nil
}
