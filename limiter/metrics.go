package limiter

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics are the limiter's own series, without labels. They are added to once per batch.
type metrics struct {
	degraded     prometheus.Gauge
	batchSize    prometheus.Histogram
	localRejects prometheus.Counter
	roundTrip    prometheus.Histogram
	merged       prometheus.Counter
	mergeDropped prometheus.Counter
}

// newMetrics makes the metrics and registers them, unless reg is nil.
func newMetrics(reg prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		degraded: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "arrakis_limiter_degraded",
			Help: "1 while limits are decided without Redis, else 0.",
		}),
		batchSize: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "arrakis_limiter_batch_size",
			Help:    "Messages that asked Redis in one round trip.",
			Buckets: prometheus.ExponentialBuckets(1, 2, 11),
		}),
		localRejects: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "arrakis_limiter_local_rejects_total",
			Help: "Messages rejected from local state, without Redis.",
		}),
		roundTrip: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "arrakis_limiter_round_trip_seconds",
			Help:    "Time of one round trip to Redis for a batch.",
			Buckets: prometheus.ExponentialBuckets(0.0001, 2, 15),
		}),
		merged: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "arrakis_limiter_merged_total",
			Help: "Admissions made without Redis and added to it afterwards.",
		}),
		mergeDropped: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "arrakis_limiter_merge_dropped_total",
			Help: "Admissions made without Redis and not kept for the merge, because a bound was reached or the key is unusable.",
		}),
	}
	if reg == nil {
		return m, nil
	}
	var errs []error
	for _, c := range []prometheus.Collector{m.degraded, m.batchSize, m.localRejects, m.roundTrip, m.merged, m.mergeDropped} {
		errs = append(errs, reg.Register(c))
	}
	return m, errors.Join(errs...)
}
