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
	if o.Timeout < time.Millisecond {
		errs = append(errs, fmt.Errorf("redishealth: Timeout: %v is below 1ms", o.Timeout))
	}
	if o.ProbeInterval < time.Millisecond {
		errs = append(errs, fmt.Errorf("redishealth: ProbeInterval: %v is below 1ms", o.ProbeInterval))
	}
	if o.Failures < 1 || o.Failures > 1<<30 {
		errs = append(errs, fmt.Errorf("redishealth: Failures: %d is not between 1 and 2^30", o.Failures))
	}
	return errors.Join(errs...)
}
