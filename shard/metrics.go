package shard

import (
	"errors"
	"fmt"
	"strconv"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics are the shards' own, without tenant labels.
type metrics struct {
	hits, misses, evictions prometheus.Counter
}

func newMetrics(reg prometheus.Registerer, depths func(func(shard, depth int))) (*metrics, error) {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
	}
	m := &metrics{
		hits:      counter("arrakis_tenant_cache_hits_total", "Messages whose tenant was cached."),
		misses:    counter("arrakis_tenant_cache_misses_total", "Tenants that were missing or too old, and read."),
		evictions: counter("arrakis_tenant_cache_evictions_total", "Tenants that made room for others."),
	}
	if reg == nil {
		return m, nil
	}
	depth := &depthCollector{depths: depths, desc: prometheus.NewDesc(
		"arrakis_shard_mailbox_depth", "Messages that wait in the mailbox of a shard.", []string{"shard"}, nil)}
	var errs []error
	for _, c := range []prometheus.Collector{m.hits, m.misses, m.evictions, depth} {
		errs = append(errs, reg.Register(c))
	}
	if err := errors.Join(errs...); err != nil {
		return nil, fmt.Errorf("shard: register metrics: %w", err)
	}
	return m, nil
}

// depthCollector reads the mailboxes when it is scraped.
type depthCollector struct {
	desc   *prometheus.Desc
	depths func(func(shard, depth int))
}

func (c *depthCollector) Describe(ch chan<- *prometheus.Desc) { ch <- c.desc }

func (c *depthCollector) Collect(ch chan<- prometheus.Metric) {
	c.depths(func(shard, depth int) {
		ch <- prometheus.MustNewConstMetric(c.desc, prometheus.GaugeValue, float64(depth), strconv.Itoa(shard))
	})
}
