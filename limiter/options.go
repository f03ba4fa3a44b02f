package limiter

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"

	"github.com/prometheus/client_golang/prometheus"

	"arrakis/limiter/redishealth"
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
	// MaxKeys is how many keys are kept in memory for the time that Redis is away; the least recently used one is
	// dropped for a new one. Defaults to 10,000.
	MaxKeys int
	// MaxQueued is how many admissions made while Redis is away wait in memory to be merged into Redis, over all
	// keys. Beyond it admissions are still counted against the limit in memory, but not merged. An admission takes
	// about 100 bytes. Defaults to 250,000.
	MaxQueued int
	// Health says whether Redis is away, to this Limiter and to whatever else uses the same Redis; no two Limiters may
	// share one. Defaults to one of the Limiter's own, with the defaults of [redishealth.Options].
	Health *redishealth.Health
	// Logger receives changes of state, and keys that cannot be used. Defaults to none.
	Logger *slog.Logger
	// Registerer receives the metrics, those of a Health of the Limiter's own included. Defaults to none.
	Registerer prometheus.Registerer
}

// withDefaults returns the options with every zero field set.
func (o Options) withDefaults() Options {
	o.Prefix = cmp.Or(o.Prefix, "ratelimit:")
	o.MaxKeys = cmp.Or(o.MaxKeys, 10_000)
	o.MaxQueued = cmp.Or(o.MaxQueued, 250_000)
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return o
}

// validate names every field that is out of range, of options that have their defaults.
func (o Options) validate() error {
	var errs []error
	if o.OnRedisDown < Local || o.OnRedisDown > Closed {
		errs = append(errs, fmt.Errorf("OnRedisDown: %v is not Local, Open or Closed", o.OnRedisDown))
	}
	for _, n := range []struct {
		name  string
		value int
	}{{"MaxKeys", o.MaxKeys}, {"MaxQueued", o.MaxQueued}} {
		if n.value < 1 || n.value > 1<<30 {
			errs = append(errs, fmt.Errorf("%s: %d is not between 1 and 2^30", n.name, n.value))
		}
	}
	return errors.Join(errs...)
}
