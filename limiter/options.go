package limiter

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Policy says what happens to messages while Redis is away.
type Policy int

// The policies.
const (
	// Local enforces the same limits from this process's memory, and merges what it admitted into Redis when Redis
	// is back. With n processes up to n times Max can be admitted meanwhile.
	Local Policy = iota
	// Open admits every message, and merges the newest Max of each key into Redis when Redis is back.
	Open
	// Closed refuses every message with a verdict that is Unavailable.
	Closed
)

// String returns the policy's name as settings spell it.
func (p Policy) String() string {
	switch p {
	case Local:
		return "local"
	case Open:
		return "open"
	case Closed:
		return "closed"
	default:
		return fmt.Sprintf("policy(%d)", int(p))
	}
}

// Options configures a Limiter. The zero value is usable.
type Options struct {
	// Prefix is put before every key to make the Redis key. Defaults to "ratelimit:".
	Prefix string
	// OnRedisDown says what happens to messages while Redis is away. Defaults to Local.
	OnRedisDown Policy
	// Timeout bounds one round trip, retries of the client included. It holds only for a client with
	// ContextTimeoutEnabled; New warns about another. Defaults to 1 s.
	Timeout time.Duration
	// MaxKeys is how many keys are kept in memory for the time that Redis is away; the least recently used one is
	// dropped for a new one. Defaults to 10,000.
	MaxKeys int
	// MaxQueued is how many admissions made while Redis is away wait in memory to be merged into Redis, over all
	// keys. Beyond it admissions are still counted against the limit in memory, but not merged. An admission takes
	// about 100 bytes. Defaults to 250,000.
	MaxQueued int
	// Failures is the number of round trips that fail in a row after which Redis counts as away. Defaults to 3.
	Failures int
	// ProbeInterval is the time between two probes while Redis is away. Defaults to 500 ms.
	ProbeInterval time.Duration
	// Logger receives changes of state and faults of single keys. Defaults to none.
	Logger *slog.Logger
	// Registerer receives the metrics. Defaults to none.
	Registerer prometheus.Registerer
}

// withDefaults returns the options with every zero field set.
func (o Options) withDefaults() Options {
	o.Prefix = cmp.Or(o.Prefix, "ratelimit:")
	o.Timeout = cmp.Or(o.Timeout, time.Second)
	o.MaxKeys = cmp.Or(o.MaxKeys, 10_000)
	o.MaxQueued = cmp.Or(o.MaxQueued, 250_000)
	o.Failures = cmp.Or(o.Failures, 3)
	o.ProbeInterval = cmp.Or(o.ProbeInterval, 500*time.Millisecond)
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	o.Logger = o.Logger.With("component", "limiter")
	return o
}

// validate reports all faults of options that have their defaults, by field name.
func (o Options) validate() error {
	var errs []error
	if o.OnRedisDown < Local || o.OnRedisDown > Closed {
		errs = append(errs, fmt.Errorf("OnRedisDown: %v is not Local, Open or Closed", o.OnRedisDown))
	}
	for _, d := range []struct {
		name  string
		value time.Duration
	}{{"Timeout", o.Timeout}, {"ProbeInterval", o.ProbeInterval}} {
		if d.value < time.Millisecond {
			errs = append(errs, fmt.Errorf("%s: %v is below 1ms", d.name, d.value))
		}
	}
	for _, n := range []struct {
		name  string
		value int
	}{{"MaxKeys", o.MaxKeys}, {"MaxQueued", o.MaxQueued}, {"Failures", o.Failures}} {
		if n.value < 1 || n.value > 1<<30 {
			errs = append(errs, fmt.Errorf("%s: %d is not between 1 and 2^30", n.name, n.value))
		}
	}
	return errors.Join(errs...)
}
