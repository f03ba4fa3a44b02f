package idempotency

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics are the store's own series. The label's values are those of result.
type metrics struct {
	results   [numResults]prometheus.Counter
	roundTrip prometheus.Histogram
}

// newMetrics makes the metrics and registers them, unless reg is nil.
func newMetrics(reg prometheus.Registerer) (*metrics, error) {
	total := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "arrakis_idempotency_total",
		Help: "Requests with an event ID of the client's, by what was known of it; unavailable is that Redis did not say.",
	}, []string{"result"})
	m := &metrics{roundTrip: prometheus.NewHistogram(prometheus.HistogramOpts{
		Name:    "arrakis_idempotency_round_trip_seconds",
		Help:    "Time of one round trip to Redis, which all requests share that wait for one.",
		Buckets: prometheus.ExponentialBuckets(0.0001, 2, 15),
	})}
	for r := range m.results {
		m.results[r] = total.WithLabelValues(resultNames[r])
	}
	if reg == nil {
		return m, nil
	}
	return m, errors.Join(reg.Register(total), reg.Register(m.roundTrip))
}
