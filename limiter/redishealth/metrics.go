package redishealth

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"
)

func newRoundTrip() prometheus.Histogram {
	return prometheus.NewHistogram(prometheus.HistogramOpts{
		Name:    "arrakis_limiter_round_trip_seconds",
		Help:    "Time of one round trip to Redis for a batch.",
		Buckets: prometheus.ExponentialBuckets(0.0001, 2, 15),
	})
}

// register registers the metrics, unless reg is nil.
func (h *Health) register(reg prometheus.Registerer) error {
	if reg == nil {
		return nil
	}
	return errors.Join(reg.Register(h.roundTrip), reg.Register(awayCollector{h}))
}

var (
	degraded = prometheus.NewDesc("arrakis_limiter_degraded",
		"1 while limits are decided without Redis, else 0.", nil, nil)
	degradedNode = prometheus.NewDesc("arrakis_limiter_degraded_node",
		"1 for each node of Redis that is away, so that the limits on its keys are decided without it; all is the whole Redis.", []string{"node"}, nil)
)

// awayCollector reads at each scrape which nodes are away.
type awayCollector struct{ h *Health }

func (c awayCollector) Describe(ch chan<- *prometheus.Desc) { ch <- degraded; ch <- degradedNode }

func (c awayCollector) Collect(ch chan<- prometheus.Metric) {
	away := 0.0
	for _, name := range c.h.Nodes() {
		away = 1
		ch <- prometheus.MustNewConstMetric(degradedNode, prometheus.GaugeValue, 1, name)
	}
	ch <- prometheus.MustNewConstMetric(degraded, prometheus.GaugeValue, away)
}
