package pipeline

import (
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"

	"arrakis/limiter"
	"arrakis/pipeline/streams"
	"arrakis/tenant/store"
)

// Options configures a [Pipeline]. Nothing has a default here, unless it says
// so: package worker, which assembles a process, knows them all.
type Options struct {
	// NATS is the connection that everything uses.
	NATS *nats.Conn
	// Streams says how missing streams and consumers are made.
	Streams streams.Options
	// Tenants is where tenants and flags are read.
	Tenants *store.Store
	// Limiter decides. Its owner runs it.
	Limiter *limiter.Limiter
	// Handlers are the Go functions that handle messages; what they do not
	// handle goes to NATS micro services. Defaults to none.
	Handlers *Handlers
	// Fallbacks handle what neither Handlers nor a micro service answers: a
	// service that is started takes over from them. Defaults to none.
	Fallbacks *Handlers
	// Shards, ShardMailbox, TenantCacheSize and TenantCacheTTL are those of
	// [shard.Options].
	Shards, ShardMailbox, TenantCacheSize int
	TenantCacheTTL                        time.Duration
	// HandlerConcurrency is how many handlers run at once, 1 or more.
	HandlerConcurrency int
	// HandlerTimeout is the time for one handler, above 0.
	HandlerTimeout time.Duration
	// MaxAttempts is how often a message is handled before it becomes a dead
	// letter, 1 or more.
	MaxAttempts int
	// CommandTTL is the age past which a command is not charged or handled,
	// but reported expired. 0 is never.
	CommandTTL time.Duration
	// MetricsMaxTenants is how many communities have metrics of their own, 1 or
	// more.
	MetricsMaxTenants int
	// ShutdownTimeout is the time for work in flight once Run's context has
	// ended, above 0.
	ShutdownTimeout time.Duration
	// Logger gets changes of state, and what happens to single messages at
	// level debug.
	Logger *slog.Logger
	// Registerer gets the metrics. Defaults to none.
	Registerer prometheus.Registerer
}

// validate names all faults at once. The shards' are found by package shard.
func (o *Options) validate() error {
	var errs []error
	for name, missing := range map[string]bool{
		"NATS": o.NATS == nil, "Tenants": o.Tenants == nil, "Limiter": o.Limiter == nil, "Logger": o.Logger == nil,
	} {
		if missing {
			errs = append(errs, fmt.Errorf("pipeline: %s is required", name))
		}
	}
	for _, f := range []struct {
		name     string
		value    int64
		smallest int64
	}{
		{"Streams.MaxAckPending", int64(o.Streams.MaxAckPending), 1},
		{"HandlerConcurrency", int64(o.HandlerConcurrency), 1},
		{"HandlerTimeout", int64(o.HandlerTimeout), 1},
		{"MaxAttempts", int64(o.MaxAttempts), 1},
		{"CommandTTL", int64(o.CommandTTL), 0},
		{"MetricsMaxTenants", int64(o.MetricsMaxTenants), 1},
		{"ShutdownTimeout", int64(o.ShutdownTimeout), 1},
	} {
		if f.value < f.smallest {
			errs = append(errs, fmt.Errorf("pipeline: %s is %d, want at least %d", f.name, f.value, f.smallest))
		}
	}
	return errors.Join(errs...)
}
