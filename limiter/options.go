package limiter

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"

	"github.com/prometheus/client_golang/prometheus"

	"arrakis/limiter/redishealth"
)

// Policy says what happens to messages while Redis is away, or the node of a Cluster that has their keys.
type Policy int

// The policies.
const (
	// Local enforces the same limits from this process's memory. When Redis is back, the admissions are merged into
	// Redis before it is asked. During the outage, n processes can admit up to n times Max.
	Local Policy = iota
	// Open admits every message. When Redis is back, the newest Max admissions of each key are merged into Redis.
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
	// Prefix and a key make the Redis key. Defaults to "ratelimit:".
	Prefix string
	// OnRedisDown says what happens to messages while Redis is away. Defaults to Local.
	OnRedisDown Policy
	// MaxKeys is how many keys are kept in memory for the time that Redis is away. A new key replaces the least
	// recently used one, whose admissions are then forgotten: its limit errs toward admitting. Defaults to 10,000.
	MaxKeys int
	// MaxQueued is how many admissions, over all keys, wait in memory to be merged into Redis. Only those that are still
	// in their window wait, and of a key the newest Max. Further admissions are counted against the limit in memory, but
	// are not merged, so after the outage Redis may admit as many too many. An admission takes about 100 bytes. Defaults
	// to 1,000,000: 20,000 a second with windows of 50 s.
	MaxQueued int
	// Health says whether Redis is away. Other users of the same Redis may share it. Of Limiters that do, one is run by
	// [Limiter.Run], which probes Redis for all of them. Defaults to a new Health with the defaults of
	// [redishealth.Options].
	Health *redishealth.Health
	// Logger logs changes of state, and keys that cannot be used. Defaults to none.
	Logger *slog.Logger
	// Registerer receives the metrics, also those of a Health that New makes. Defaults to none.
	Registerer prometheus.Registerer
}

// withDefaults returns the options with a default for every zero field.
func (o Options) withDefaults() Options {
	o.Prefix = cmp.Or(o.Prefix, "ratelimit:")
	o.MaxKeys = cmp.Or(o.MaxKeys, 10_000)
	o.MaxQueued = cmp.Or(o.MaxQueued, 1_000_000)
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return o
}

// validate names every field that is out of range. The options must have their defaults.
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
