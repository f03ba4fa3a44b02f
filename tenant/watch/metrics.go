package watch

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"arrakis/tenant"
)

type metrics struct {
	reloads *prometheus.CounterVec
	errors  prometheus.Counter
}

// newMetrics makes the metrics and registers them, unless reg is nil.
func newMetrics(reg prometheus.Registerer) *metrics {
	factory := promauto.With(reg)
	m := &metrics{
		reloads: factory.NewCounterVec(prometheus.CounterOpts{
			Name: "arrakis_config_reloads_total",
			Help: "Config events delivered, by type and by the way they came: pubsub or poll.",
		}, []string{"type", "way"}),
		errors: factory.NewCounter(prometheus.CounterOpts{
			Name: "arrakis_config_reload_errors_total",
			Help: "Config events that were malformed, and polls of the change log that failed.",
		}),
	}
	// Every series exists from the start, with value 0.
	for _, t := range []tenant.EventType{
		tenant.TenantChanged, tenant.AccountChanged, tenant.GlobalChanged, tenant.FlagChanged, tenant.LimitReset,
	} {
		for _, way := range []Way{PubSub, Poll} {
			m.reloads.WithLabelValues(string(t), string(way))
		}
	}
	return m
}
