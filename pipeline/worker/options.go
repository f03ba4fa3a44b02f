package worker

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"slices"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"

	"arrakis/limiter"
	"arrakis/pipeline"
	"arrakis/pipeline/discord"
	"arrakis/pipeline/http/auth"
	"arrakis/pipeline/streams"
	"arrakis/pipeline/tracing"
	"arrakis/tenant/record"
)

// Options configures a [Worker]. A field that is zero has its default. NATS and Redis are required.
type Options struct {
	// NATS is the connection that all parts use. Make it with nats.RetryOnFailedConnect and nats.MaxReconnects(-1), so
	// that the worker waits for a server that is away. The caller closes it after Run.
	NATS *nats.Conn
	// Redis holds tenants and limits: a single server, a cluster or Sentinel. Set its ContextTimeoutEnabled, and its
	// PoolSize to RedisConnections. The caller closes it after Run. The client writes to standard error by itself;
	// redis.SetLogger changes that.
	Redis redis.UniversalClient

	// Record is the system of record: tenants, accounts, tiers and flags are changed there, and Redis gets copies. The worker runs
	// it; the caller closes it after Run. Defaults to nil: Redis itself.
	Record *record.DB

	// Handlers are the Go functions that handle messages. Messages without such a function go to NATS micro services.
	// Defaults to none.
	Handlers *pipeline.Handlers
	// Fallbacks handle messages that neither Handlers nor a micro service handles. Defaults to none.
	Fallbacks *pipeline.Handlers

	// HTTP is the listener of the ingress and of health. A listener of [tls.NewListener] makes it HTTPS. Run closes the
	// listener. If New fails, the caller must close it. Defaults to nil: there is no ingress.
	HTTP net.Listener
	// IngressTokens are the bearer tokens of the ingress: any of them is accepted, so that one can be rotated. There may
	// be 16, each of 1 to 4,096 visible ASCII characters. The worker keeps only their digests. Defaults to none: every
	// request is accepted.
	IngressTokens []string
	// Ops is the listener of metrics, health, the admin API and pprof. As for HTTP, it may be one of TLS, and Run closes
	// it. Defaults to nil: there is no ops address.
	Ops net.Listener
	// AdminTokens are the bearer tokens of the admin API, pprof and the console's log-in, as IngressTokens are those of
	// the ingress. Their name is "admin". Defaults to none: if there are no ViewTokens and NamedTokens either, everybody may
	// do everything if Ops is bound to a loopback address, and nobody may do anything otherwise.
	AdminTokens []string
	// ViewTokens are tokens that may only look: read the admin API and the console. Their name is "view". None may be among
	// AdminTokens. Defaults to none.
	ViewTokens []string
	// NamedTokens are further tokens, each with the name that the audit log has of its changes, and with what it may do.
	// Several may have one name while one is rotated. None may be given for another name or other scopes too. The worker
	// keeps only their digests. Up to 64, together with AdminTokens and ViewTokens. Defaults to none.
	NamedTokens []auth.NamedToken
	// OpsHosts are the host names by which Ops may be asked, such as ops.example.com, or *.example.com for all names
	// below it. localhost and IP addresses are always allowed. Defaults to none. See [auth.Hosts].
	OpsHosts []string

	// Discord says which interactions of Discord are taken and answered. Defaults to none.
	Discord DiscordOptions

	// Chat serves what the console's page /discord asks, a chat with a Discord that is played; see [console.Options].
	// Defaults to nil: there is no such page.
	Chat http.Handler

	// Streams are the settings with which missing streams and consumers are created. Its MaxAckPending defaults to
	// 10,000.
	Streams streams.Options

	// Shards is the number of shards, 1 to 4096. Defaults to 64.
	Shards int
	// ShardMailbox is how many messages the mailbox of a shard holds, 1 or more. Defaults to 1024.
	ShardMailbox int
	// HandlerConcurrency is how many handlers run at once, 1 or more. Defaults to 256.
	HandlerConcurrency int
	// TenantConcurrency is how many handlers run at once for one community; with 1 its messages are handled strictly in
	// order. Defaults to 0: a community may start another handler while it runs fewer than its weight times those that
	// are free, so one that has many messages gets half of the workers, and some are free for whoever comes next.
	TenantConcurrency int
	// HandlerTimeout is the time for one handler. Defaults to 15 s.
	HandlerTimeout time.Duration
	// MaxAttempts is after how many handler attempts a message becomes a dead letter, 1 or more. Defaults to 5.
	MaxAttempts int
	// RetryBackoff are the delays before the second and each further attempt, with jitter; the last one repeats. Delays of
	// a second and more are rounded up to whole seconds. Defaults to 1 s, 5 s, 15 s and 60 s.
	RetryBackoff []time.Duration
	// RetryUntil is for how long after it was stored a message is tried while no handler answers. Then it becomes a dead
	// letter. A command that can expire is tried until then. Defaults to 1 h.
	RetryUntil time.Duration
	// CommandTTL is the age past which a command is neither charged nor handled, but reported expired. It is looked at
	// when the command arrives, and when its turn comes; then its permits are given back. Defaults to
	// 15 min. With Never, no command expires.
	CommandTTL time.Duration
	// OverloadAge is how long communities that keep within their due may wait for a handler before new commands are
	// refused with 503, those of the free tier first; see docs/operations.md. Defaults to 2 s. With Never, none is.
	OverloadAge time.Duration
	// ShutdownTimeout is the time within which Run returns once its context has ended; see the package comment. Handlers
	// have at least a third of it, and three fifths if there is no ingress. Defaults to 30 s.
	ShutdownTimeout time.Duration

	// TenantCacheSize is how many tenants are cached over all shards, and for how many keys the limiter remembers
	// admissions for an outage of Redis, 1 or more. Defaults to 100,000.
	TenantCacheSize int
	// TenantCacheTTL is the age at which a cached tenant is read again. Defaults to 30 s.
	TenantCacheTTL time.Duration
	// ReloadPollInterval is the time between two polls for changes whose announcements were lost. Defaults to 30 s.
	ReloadPollInterval time.Duration
	// OnRedisDown says what happens to messages while Redis is away. Defaults to limiter.Local.
	OnRedisDown limiter.Policy
	// MetricsMaxTenants is how many communities have metrics of their own, 1 or more. Defaults to 10,000.
	MetricsMaxTenants int

	// Traces says which messages are recorded as spans of OpenTelemetry, and by which provider. Run flushes the provider at its
	// end, if that has a method ForceFlush; the caller shuts it down. Defaults to none: nothing is recorded.
	Traces tracing.Options

	// Version is the version of the program, for people who look at the fleet. Defaults to that of its main module.
	Version string
	// Name is the name of this process in the changes that it announces. Defaults to "worker:" and the host's name.
	Name string
	// Logger logs changes of state, and single messages at level debug. Defaults to none.
	Logger *slog.Logger
	// Registry is where the metrics are registered. Its metrics are served at /metrics of Ops. It must not have the
	// metrics already, from another worker or from a New that failed. Defaults to a new registry.
	Registry *prometheus.Registry
}

// RedisConnections is how many connections a worker with that many shards may use at the same time, on a cluster to
// each node. Each shard has at most one round trip in flight. The other connections are for the attempts of messages (1),
// the records of streams (2), repeated HTTP requests (1), changes of configuration, the recovery of limits, the admin
// API and handlers that read usage. A pool that is smaller makes shards wait for each other. An idle pool has as many
// connections as were needed at once.
func RedisConnections(shards int) int {
	const others = 16
	return cmp.Or(shards, Defaults().Shards) + others
}

// Never is the CommandTTL with which no command expires, and the OverloadAge with which none is refused.
const Never = time.Duration(-1)

// Defaults returns options with every default set.
func Defaults() Options { return Options{}.withDefaults() }

// withDefaults is the one place where a setting of the worker gets its default. The addresses and logging have their
// defaults in cmd/arrakis/settings.go.
func (o Options) withDefaults() Options {
	o.Streams = o.Streams.WithDefaults()
	o.Shards = cmp.Or(o.Shards, 64)
	o.ShardMailbox = cmp.Or(o.ShardMailbox, 1024)
	o.HandlerConcurrency = cmp.Or(o.HandlerConcurrency, 256)
	o.HandlerTimeout = cmp.Or(o.HandlerTimeout, 15*time.Second)
	o.MaxAttempts = cmp.Or(o.MaxAttempts, 5)
	if len(o.RetryBackoff) == 0 {
		o.RetryBackoff = []time.Duration{time.Second, 5 * time.Second, 15 * time.Second, time.Minute}
	}
	o.RetryUntil = cmp.Or(o.RetryUntil, time.Hour)
	o.CommandTTL = cmp.Or(o.CommandTTL, 15*time.Minute)
	o.OverloadAge = cmp.Or(o.OverloadAge, 2*time.Second)
	o.ShutdownTimeout = cmp.Or(o.ShutdownTimeout, 30*time.Second)
	o.TenantCacheSize = cmp.Or(o.TenantCacheSize, 100_000)
	o.TenantCacheTTL = cmp.Or(o.TenantCacheTTL, 30*time.Second)
	o.ReloadPollInterval = cmp.Or(o.ReloadPollInterval, 30*time.Second)
	o.MetricsMaxTenants = cmp.Or(o.MetricsMaxTenants, 10_000)
	o.Discord.APIURL = cmp.Or(o.Discord.APIURL, discord.DefaultAPIURL)
	o.Traces.PerSecond = cmp.Or(o.Traces.PerSecond, tracing.DefaultPerSecond)
	if o.Version == "" {
		o.Version = moduleVersion()
	}
	if o.Name == "" {
		o.Name = "worker"
		if host, err := os.Hostname(); err == nil {
			o.Name += ":" + host
		}
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Registry == nil {
		o.Registry = prometheus.NewRegistry()
	}
	return o
}

// access says who may do what on the ops address.
func (o *Options) access(loopback bool) (auth.Access, error) {
	access := auth.NewAccess(loopback)
	if err := access.Add(auth.Admin, o.AdminTokens...); err != nil {
		return auth.Access{}, fmt.Errorf("AdminTokens %w", err)
	}
	if err := access.Add(auth.Viewer, o.ViewTokens...); err != nil {
		return auth.Access{}, fmt.Errorf("ViewTokens %w", err)
	}
	for i := range o.NamedTokens {
		if err := access.Add(o.NamedTokens[i].Grant, o.NamedTokens[i].Token); err != nil {
			return auth.Access{}, fmt.Errorf("NamedTokens[%d] %w", i, err)
		}
	}
	return access, nil
}

// validate reports all faults at once.
func (o *Options) validate() error {
	var errs []error
	if o.NATS == nil {
		errs = append(errs, errors.New("worker: NATS is required"))
	}
	if o.Redis == nil {
		errs = append(errs, errors.New("worker: Redis is required"))
	}
	if o.Streams.Replicas < 1 || o.Streams.Replicas > 5 {
		errs = append(errs, fmt.Errorf("worker: Streams.Replicas is %d, want 1 to 5", o.Streams.Replicas))
	}
	if o.OnRedisDown < limiter.Local || o.OnRedisDown > limiter.Closed {
		errs = append(errs, fmt.Errorf("worker: OnRedisDown is %v, want Local, Open or Closed", o.OnRedisDown))
	}
	if _, err := auth.NewBearer(o.IngressTokens...); err != nil {
		errs = append(errs, fmt.Errorf("worker: IngressTokens %w", err))
	}
	if _, err := o.access(false); err != nil {
		errs = append(errs, fmt.Errorf("worker: %w", err))
	}
	if _, err := auth.NewHosts(o.OpsHosts...); err != nil {
		errs = append(errs, fmt.Errorf("worker: OpsHosts %w", err))
	}
	errs = append(errs, o.Discord.faults()...)
	if o.Shards > 4096 {
		errs = append(errs, fmt.Errorf("worker: Shards is %d, want at most 4096", o.Shards))
	}
	if slices.ContainsFunc(o.RetryBackoff, func(d time.Duration) bool { return d <= 0 }) {
		errs = append(errs, fmt.Errorf("worker: RetryBackoff is %v, want only delays above 0", o.RetryBackoff))
	}
	for _, f := range []struct {
		name     string
		negative bool
		value    any
	}{
		{"Streams.MaxAckPending", o.Streams.MaxAckPending < 0, o.Streams.MaxAckPending},
		{"Shards", o.Shards < 0, o.Shards},
		{"ShardMailbox", o.ShardMailbox < 0, o.ShardMailbox},
		{"HandlerConcurrency", o.HandlerConcurrency < 0, o.HandlerConcurrency},
		{"TenantConcurrency", o.TenantConcurrency < 0, o.TenantConcurrency},
		{"HandlerTimeout", o.HandlerTimeout < 0, o.HandlerTimeout},
		{"MaxAttempts", o.MaxAttempts < 0, o.MaxAttempts},
		{"RetryUntil", o.RetryUntil < 0, o.RetryUntil},
		{"CommandTTL", o.CommandTTL < 0 && o.CommandTTL != Never, o.CommandTTL},
		{"OverloadAge", o.OverloadAge < 0 && o.OverloadAge != Never, o.OverloadAge},
		{"ShutdownTimeout", o.ShutdownTimeout < 0, o.ShutdownTimeout},
		{"TenantCacheSize", o.TenantCacheSize < 0, o.TenantCacheSize},
		{"TenantCacheTTL", o.TenantCacheTTL < 0, o.TenantCacheTTL},
		{"ReloadPollInterval", o.ReloadPollInterval < 0, o.ReloadPollInterval},
		{"MetricsMaxTenants", o.MetricsMaxTenants < 0, o.MetricsMaxTenants},
		{"Traces.PerSecond", o.Traces.PerSecond < 0, o.Traces.PerSecond},
	} {
		if f.negative {
			errs = append(errs, fmt.Errorf("worker: %s is %v, want 1 or more, or 0 for the default", f.name, f.value))
		}
	}
	return errors.Join(errs...)
}
