package tenant

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// watcherMetrics are handles of every label value, made once.
type watcherMetrics struct {
	reloads map[EventType]map[Way]prometheus.Counter
	errors  prometheus.Counter
}

// newWatcherMetrics registers with reg; nil registers nowhere.
func newWatcherMetrics(reg prometheus.Registerer) *watcherMetrics {
	factory := promauto.With(reg)
	reloads := factory.NewCounterVec(prometheus.CounterOpts{
		Name: "arrakis_config_reloads_total",
		Help: "Config events delivered, by type and by the way they came: pubsub or poll.",
	}, []string{"type", "way"})
	m := &watcherMetrics{
		reloads: make(map[EventType]map[Way]prometheus.Counter),
		errors: factory.NewCounter(prometheus.CounterOpts{
			Name: "arrakis_config_reload_errors_total",
			Help: "Config events that were malformed, and polls of the change log that failed.",
		}),
	}
	for _, t := range eventTypes {
		m.reloads[t] = make(map[Way]prometheus.Counter)
		for _, way := range []Way{PubSub, Poll} {
			m.reloads[t][way] = reloads.WithLabelValues(string(t), string(way))
		}
	}
	return m
}
