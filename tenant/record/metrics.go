package record

import "github.com/prometheus/client_golang/prometheus"

// metrics are the metrics of a DB.
type metrics struct {
	up        prometheus.Gauge
	errors    prometheus.Counter
	carried   prometheus.Counter
	lag       prometheus.Histogram
	waiting   prometheus.Gauge
	elsewhere prometheus.Gauge
	drift     *prometheus.GaugeVec
	rebuilds  prometheus.Counter
}

// newMetrics makes the metrics, and registers them unless r is nil.
func newMetrics(r prometheus.Registerer) *metrics {
	m := &metrics{
		up: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "arrakis_record_up", Help: "Whether PostgreSQL, the system of record, answered last: 1 or 0.",
		}),
		errors: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "arrakis_record_errors_total", Help: "Calls of PostgreSQL that failed because it was away.",
		}),
		carried: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "arrakis_record_carried_total", Help: "Changes that this process has carried from PostgreSQL to Redis.",
		}),
		lag: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "arrakis_record_lag_seconds", Help: "Age of the oldest change when this process began to carry changes to Redis.",
			Buckets: []float64{0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300},
		}),
		waiting: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "arrakis_record_waiting_seconds", Help: "Age of the oldest change that this process could not carry to Redis when it last tried; 0: none waits.",
		}),
		elsewhere: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "arrakis_record_elsewhere", Help: "Whether this process's PostgreSQL is not the system of record of its Redis, so that nothing can be changed: 1 or 0.",
		}),
		drift: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "arrakis_record_drift_documents",
			Help: "Documents of which Redis had something else than PostgreSQL when this process compared them, by kind of drift; 0 once another process has.",
		}, []string{"drift"}),
		rebuilds: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "arrakis_record_rebuilds_total", Help: "Times that this process has filled an empty Redis from PostgreSQL.",
		}),
	}
	m.forgetDrift()
	if r != nil {
		r.MustRegister(m.up, m.errors, m.carried, m.lag, m.waiting, m.elsewhere, m.drift, m.rebuilds)
	}
	return m
}

// forgetDrift says that this process knows of no drift.
func (m *metrics) forgetDrift() {
	for _, drift := range drifts {
		m.drift.WithLabelValues(string(drift)).Set(0)
	}
}
