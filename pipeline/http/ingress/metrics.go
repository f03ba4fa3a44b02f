package ingress

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// metrics are the ingress's own series. The labels are bounded: a route is one of this package's or "other", a code is
// a status code of HTTP.
type metrics struct {
	requests   *prometheus.CounterVec
	seconds    *prometheus.HistogramVec
	reading    prometheus.Gauge
	inFlight   prometheus.Gauge
	clientGone prometheus.Counter
	unclaimed  prometheus.Counter
}

// newMetrics makes the metrics and registers them, unless reg is nil.
func newMetrics(reg prometheus.Registerer) *metrics {
	factory := promauto.With(reg)
	return &metrics{
		requests: factory.NewCounterVec(prometheus.CounterOpts{
			Name: "arrakis_ingress_requests_total",
			Help: "HTTP requests by route and status code; 499 is a client that left before its answer.",
		}, []string{"route", "code"}),
		seconds: factory.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "arrakis_ingress_request_seconds",
			Help:    "Time from the end of a request's headers to its answer.",
			Buckets: prometheus.ExponentialBuckets(0.0005, 2, 17),
		}, []string{"route"}),
		reading: factory.NewGauge(prometheus.GaugeOpts{
			Name: "arrakis_ingress_reading",
			Help: "Requests whose bodies are being read.",
		}),
		inFlight: factory.NewGauge(prometheus.GaugeOpts{
			Name: "arrakis_ingress_in_flight",
			Help: "Requests being stored or waited for.",
		}),
		clientGone: factory.NewCounter(prometheus.CounterOpts{
			Name: "arrakis_ingress_client_gone_total",
			Help: "Clients that left before their answer.",
		}),
		unclaimed: factory.NewCounter(prometheus.CounterOpts{
			Name: "arrakis_ingress_unclaimed_outcomes_total",
			Help: "Outcomes that came when no request waited for them any more.",
		}),
	}
}
