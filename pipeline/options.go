package pipeline

import (
	"log/slog"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"

	"arrakis/limiter"
	"arrakis/pipeline/streams"
	"arrakis/tenant/store"
)

// Options configures a [Pipeline]. Package worker documents, checks and completes them: every field has its value but
// Handlers, Fallbacks and Registerer, which may be nil.
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
