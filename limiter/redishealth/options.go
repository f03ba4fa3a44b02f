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
	// Timeout bounds one round trip, with the client's retries, at least 1 ms. It has an effect only on a client with
	// ContextTimeoutEnabled; New warns about any other client. Defaults to 1 s.
	Timeout time.Duration
	// Failures is after how many failed round trips in a row Redis counts as away, 1 to 2^30. Defaults to 3.
	Failures int
	// ProbeInterval is the time between two probes while Redis is away, at least 1 ms. Defaults to 500 ms.
	ProbeInterval time.Duration
	// ProbeKey is the key that probes use but never create. The client must have permission to write it. Defaults to
	// "ratelimit:probe".
	ProbeKey string
	// Logger logs changes of state. Defaults to none.
	Logger *slog.Logger
	// Registerer receives the metrics. Defaults to none.
	Registerer prometheus.Registerer
}

// withDefaults returns the options with a default for every zero field.
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

// validate names every field that is out of range. The options must have their defaults.
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
