package idempotency

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"arrakis/limiter/redishealth"
)

// Options configures a [Store]. Health is required; every other field may be zero.
type Options struct {
	// Health says whether Redis is away. The limiter's, so that all of a process agree. Required.
	Health *redishealth.Health
	// Closed refuses requests that cannot be looked up, because Redis is away. Otherwise they run, at most once in each
	// process.
	Closed bool
	// Keep is how long an answer is kept. Defaults to 25 h: a day, and an hour so that no limit's window is longer. A
	// shorter time lets an event ID run again while it still holds its permit.
	Keep time.Duration
	// Lease is how long a request counts as running after its process has died, at least 1 s. Defaults to 1 min.
	Lease time.Duration
	// MaxAnswer is the size in bytes of the largest answer that is kept, at most 256 KiB. Defaults to 64 KiB.
	MaxAnswer int
	// MaxPerCommunity is how many KiB of answers are kept for one community, in Redis. A smaller answer counts as one.
	// Defaults to 65,536: 64 MiB, and 7 MiB for the index.
	MaxPerCommunity int
	// MemoryBytes is the size of the answers in this process's memory, for the time that Redis is away. Defaults to
	// 16 MiB.
	MemoryBytes int
	// Logger logs changes of state. Defaults to none.
	Logger *slog.Logger
	// Registerer receives the metrics. Defaults to none.
	Registerer prometheus.Registerer
}

// largestAnswer bounds what one call adds to the index, and so the time that Redis takes for it.
const largestAnswer = 256 << 10

// withDefaults returns the options with a default for every zero field.
func (o Options) withDefaults() Options {
	o.Keep = cmp.Or(o.Keep, 25*time.Hour)
	o.Lease = cmp.Or(o.Lease, time.Minute)
	o.MaxAnswer = cmp.Or(o.MaxAnswer, 64<<10)
	o.MaxPerCommunity = cmp.Or(o.MaxPerCommunity, 65_536)
	o.MemoryBytes = cmp.Or(o.MemoryBytes, 16<<20)
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	o.Logger = o.Logger.With("component", "idempotency")
	return o
}

// validate names every field that is out of range. The options must have their defaults.
func (o *Options) validate() error {
	var errs []error
	if o.Health == nil {
		errs = append(errs, errors.New("option Health is nil: it says whether Redis is away"))
	}
	if o.Keep < o.Lease {
		errs = append(errs, fmt.Errorf("option Keep is %v, below Lease", o.Keep))
	}
	if o.Lease < time.Second {
		errs = append(errs, fmt.Errorf("option Lease is %v, want 1s or more", o.Lease))
	}
	if o.MaxAnswer < 0 || o.MaxAnswer > largestAnswer {
		errs = append(errs, fmt.Errorf("option MaxAnswer is %d, want 1 to %d", o.MaxAnswer, largestAnswer))
	}
	if o.MaxPerCommunity < 1 {
		errs = append(errs, fmt.Errorf("option MaxPerCommunity is %d, want 1 or more", o.MaxPerCommunity))
	}
	if o.MemoryBytes < 1 {
		errs = append(errs, fmt.Errorf("option MemoryBytes is %d, want 1 or more", o.MemoryBytes))
	}
	return errors.Join(errs...)
}
