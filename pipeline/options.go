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

// Options configures a [Pipeline]. worker.Options documents the fields and their defaults. Handlers, Fallbacks and
// Registerer may be nil.
type Options struct {
	NATS                *nats.Conn
	Streams             streams.Options
	Tenants             *store.Store
	Limiter             *limiter.Limiter // the caller runs it
	Handlers, Fallbacks *Handlers

	Shards, ShardMailbox, TenantCacheSize int
	TenantCacheTTL                        time.Duration

	HandlerConcurrency int
	HandlerTimeout     time.Duration
	MaxAttempts        int
	CommandTTL         time.Duration // 0: commands never expire
	MetricsMaxTenants  int
	ShutdownTimeout    time.Duration

	Logger     *slog.Logger
	Registerer prometheus.Registerer
}

// validate reports all faults at once. Package shard checks the options of the shards.
func (o *Options) validate() error {
	var errs []error
	for _, f := range []struct {
		name    string
		missing bool
	}{{"NATS", o.NATS == nil}, {"Tenants", o.Tenants == nil}, {"Limiter", o.Limiter == nil}, {"Logger", o.Logger == nil}} {
		if f.missing {
			errs = append(errs, fmt.Errorf("pipeline: %s is required", f.name))
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
