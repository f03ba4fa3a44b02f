package redishealth

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Options configures a Health. The zero value is usable.
type Options struct {
	// Timeout bounds one round trip, retries of the client included, at least 1 ms. It holds only for a client with
	// ContextTimeoutEnabled; New warns about another. Defaults to 1 s.
	Timeout time.Duration
	// Failures is the number of round trips that fail in a row after which Redis counts as away, 1 to 2^30. Defaults to 3.
	Failures int
	// ProbeInterval is the time between two probes while Redis is away, at least 1 ms. Defaults to 500 ms.
	ProbeInterval time.Duration
	// ProbeKey is the key that probes name, and never make: one that the client may write. Defaults to "ratelimit:probe".
	ProbeKey string
	// Logger receives changes of state. Defaults to none.
	Logger *slog.Logger
	// Registerer receives the metrics. Defaults to none.
	Registerer prometheus.Registerer
}

// withDefaults returns the options with every zero field set.
func (o Options) withDefaults() Options {
	o.Timeout = cmp.Or(o.Timeout, time.Second)
	o.Failures = cmp.Or(o.Failures, 3)
	o.ProbeInterval = cmp.Or(o.ProbeInterval, 500*time.Millisecond)
	o.ProbeKey = cmp.Or(o.ProbeKey, "ratelimit:probe")
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	o.Logger = o.Logger.With("component", "limiter")
	return o
}

// validate names every field that is out of range, of options that have their defaults.
func (o Options) validate() error {
	var errs []error
	for _, f := range []struct {
		name  string
		value any
		valid bool
		want  string
	}{
		{"Timeout", o.Timeout, o.Timeout >= time.Millisecond, "at least 1ms"},
		{"Failures", o.Failures, o.Failures >= 1 && o.Failures <= 1<<30, "between 1 and 2^30"},
		{"ProbeInterval", o.ProbeInterval, o.ProbeInterval >= time.Millisecond, "at least 1ms"},
	} {
		if !f.valid {
			errs = append(errs, fmt.Errorf("%s: %v is not %s", f.name, f.value, f.want))
		}
	}
	return errors.Join(errs...)
}

// metrics are without labels.
type metrics struct {
	degraded  prometheus.Gauge
	roundTrip prometheus.Histogram
}

// newMetrics makes the metrics and registers them, unless reg is nil.
func newMetrics(reg prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		degraded: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "arrakis_limiter_degraded",
			Help: "1 while limits are decided without Redis, else 0.",
		}),
		roundTrip: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "arrakis_limiter_round_trip_seconds",
			Help:    "Time of one round trip to Redis for a batch.",
			Buckets: prometheus.ExponentialBuckets(0.0001, 2, 15),
		}),
	}
	if reg == nil {
		return m, nil
	}
	return m, errors.Join(reg.Register(m.degraded), reg.Register(m.roundTrip))
}

func (m *metrics) setAway(away bool) {
	if away {
		m.degraded.Set(1)
	} else {
		m.degraded.Set(0)
	}
}
