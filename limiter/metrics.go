package limiter

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics are the limiter's own series, without labels. They are updated once for each batch.
type metrics struct {
	batchSize    prometheus.Histogram
	localRejects prometheus.Counter
	merged       prometheus.Counter
	mergeDropped prometheus.Counter
}

// newMetrics makes the metrics and registers them, unless reg is nil.
func newMetrics(reg prometheus.Registerer) (*metrics, error) {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
	}
	m := &metrics{
		batchSize: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "arrakis_limiter_batch_size",
			Help:    "Messages that asked Redis in one round trip.",
			Buckets: prometheus.ExponentialBuckets(1, 2, 11),
		}),
		localRejects: counter("arrakis_limiter_local_rejects_total", "Messages rejected from local state, without Redis."),
		merged:       counter("arrakis_limiter_merged_total", "Admissions made without Redis and added to it afterwards."),
		mergeDropped: counter("arrakis_limiter_merge_dropped_total",
			"Admissions made without Redis and not kept for the merge, because a bound was reached or the key is unusable."),
	}
	if reg == nil {
		return m, nil
	}
	var errs []error
	for _, c := range []prometheus.Collector{m.batchSize, m.localRejects, m.merged, m.mergeDropped} {
		errs = append(errs, reg.Register(c))
	}
	return m, errors.Join(errs...)
}
