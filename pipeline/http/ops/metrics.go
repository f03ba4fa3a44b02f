package ops

import (
	"context"

	"github.com/prometheus/client_golang/prometheus"
)

var (
	readyDesc = prometheus.NewDesc("arrakis_ready", "1 while /readyz answers 200, else 0.", nil, nil)
	checkDesc = prometheus.NewDesc("arrakis_check_status", "A check of /readyz: 0 ok, 1 degraded, 2 failed.", []string{"check"}, nil)
)

// Describe implements prometheus.Collector.
func (h *Health) Describe(ch chan<- *prometheus.Desc) { ch <- readyDesc; ch <- checkDesc }

// Collect implements prometheus.Collector. A scrape is a probe like those of /readyz: it shares their rounds, and takes up
// to 2 s while a check does not answer.
func (h *Health) Collect(ch chan<- prometheus.Metric) {
	rep := h.report(context.Background()) // a round has its own time-out
	value := 0.0
	if ready(h.status(rep)) {
		value = 1
	}
	ch <- prometheus.MustNewConstMetric(readyDesc, prometheus.GaugeValue, value)
	for name, result := range rep.checks {
		value = 2
		switch result.Status {
		case OK:
			value = 0
		case Degraded:
			value = 1
		}
		ch <- prometheus.MustNewConstMetric(checkDesc, prometheus.GaugeValue, value, name)
	}
}
