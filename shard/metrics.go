package shard

import (
	"strconv"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// metrics are the shards' own series, without tenant labels.
type metrics struct {
	hits, misses, evictions prometheus.Counter
}

// newMetrics makes the metrics and registers them, unless reg is nil.
func newMetrics(reg prometheus.Registerer, depths func(func(shard, depth int))) *metrics {
	counter := func(name, help string) prometheus.Counter {
		return promauto.With(reg).NewCounter(prometheus.CounterOpts{Name: name, Help: help})
	}
	if reg != nil {
		reg.MustRegister(&depthCollector{depths: depths, desc: prometheus.NewDesc(
			"arrakis_shard_mailbox_depth", "Messages that wait in the mailbox of a shard.", []string{"shard"}, nil)})
	}
	return &metrics{
		hits:      counter("arrakis_tenant_cache_hits_total", "Messages whose tenant was cached."),
		misses:    counter("arrakis_tenant_cache_misses_total", "Tenants that were read because they were not cached or too old."),
		evictions: counter("arrakis_tenant_cache_evictions_total", "Tenants that made room for others."),
	}
}

// depthCollector reads the depths of the mailboxes at each scrape.
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
