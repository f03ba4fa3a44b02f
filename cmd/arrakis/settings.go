package main

import (
	"strconv"
	"strings"
	"time"

	"github.com/alecthomas/kong"

	"arrakis/pipeline/worker"
	"arrakis/tenant/record"
)

// localNATS is the default address of NATS for the command line, and the one that `arrakis dev` uses.
const localNATS = "nats://127.0.0.1:4222"

// The settings, in groups that commands embed. A flag with a group is a setting. The environment variable of a setting
// is its name in capitals.

var settingGroups = kong.ExplicitGroups([]kong.Group{
	{Key: "rabbitmq", Title: "RabbitMQ:"},
	{Key: "nats", Title: "NATS:"},
	{Key: "redis", Title: "Redis:"},
	{Key: "postgres", Title: "PostgreSQL:"},
	{Key: "http", Title: "HTTP:"},
	{Key: "discord", Title: "Discord:"},
	{Key: "worker", Title: "Worker:"},
	{Key: "tenants", Title: "Tenants and limits:"},
	{Key: "streams", Title: "Streams that arrakis creates:"},
	{Key: "traces", Title: "Traces:"},
	{Key: "log", Title: "Log:"},
})

type natsSettings struct {
	URL     string `name:"nats-url" group:"nats" placeholder:"${nats_hint}" default:"${nats_url}" help:"NATS servers, comma-separated.${nats_note}"`
	Creds   string `name:"nats-creds" group:"nats" placeholder:"FILE" help:"Credentials file, which is read again at each reconnect."`
	NKey    string `name:"nats-nkey" group:"nats" placeholder:"FILE" help:"File with the seed of an NKey."`
	Token   string `name:"nats-token" group:"nats" placeholder:"TOKEN" help:"Token. Use one of credentials, NKey, token, and a user in NATS_URL (nats://user:password@host)."`
	TLSCA   string `name:"nats-tls-ca" group:"nats" placeholder:"FILE" help:"CA certificates to check the server's certificate. Default: the CA certificates of the system."`
	TLSCert string `name:"nats-tls-cert" group:"nats" placeholder:"FILE" help:"Client certificate."`
	TLSKey  string `name:"nats-tls-key" group:"nats" placeholder:"FILE" help:"Key of the client certificate."`
}

type redisSettings struct {
	URL string `name:"redis-url" group:"redis" default:"redis://localhost:6379" help:"redis://, rediss:// (TLS) or unix://. Several addresses, comma-separated, mean a cluster. Sentinel: redis+sentinel://host,host/master."`
}

type httpSettings struct {
	HTTPAddr     string `name:"http-addr" group:"http" default:"${http_addr}" help:"Address of the ingress and of health."`
	OpsAddr      string `name:"ops-addr" group:"http" default:"127.0.0.1:8081" help:"Address of the console, metrics, health, the admin API and pprof."`
	IngressToken string `name:"ingress-token" group:"http" placeholder:"TOKEN" help:"Bearer token that the ingress asks for, or several, comma-separated, while one is rotated."`
	IngressAuth  choice `name:"ingress-auth" group:"http" oneof:"none" unquoted:"" default:"" placeholder:"none" help:"none accepts requests without a token; serve needs this setting or a token."`
	AdminToken   string `name:"admin-token" group:"http" placeholder:"TOKEN" help:"Token of the admin API, pprof and the console's log-in, or several, comma-separated. Without this one, ADMIN_TOKENS and VIEW_TOKEN they answer only on a loopback address."`
	AdminTokens  string `name:"admin-tokens" group:"http" placeholder:"NAME=SCOPES:TOKEN,..." help:"Tokens with names, which the audit log has, and with scopes, joined by +: view (to look; the others include it), limits, tiers, deadletters, all. For example ada=all:TOKEN,support=limits+deadletters:TOKEN."`
	ViewToken    string `name:"view-token" group:"http" placeholder:"TOKEN" help:"Token that may only look at the admin API and the console, or several, comma-separated."`
	OpsHosts     string `name:"ops-hosts" group:"http" placeholder:"NAME,..." help:"Host names by which the ops address may be asked, such as ops.example.com or *.example.com. Always allowed: localhost, IP addresses and the host of OPS_ADDR."`
	tlsSettings
}

// tlsSettings are the TLS files of both addresses.
type tlsSettings struct {
	HTTPTLSCert     string `name:"http-tls-cert" group:"http" placeholder:"FILE" help:"Certificate of the ingress, in PEM, which makes it HTTPS. All TLS files are read again when they change."`
	HTTPTLSKey      string `name:"http-tls-key" group:"http" placeholder:"FILE" help:"Key of that certificate."`
	HTTPTLSClientCA string `name:"http-tls-client-ca" group:"http" placeholder:"FILE" help:"CA certificates of clients: a client of the ingress needs a certificate too."`
	OpsTLSCert      string `name:"ops-tls-cert" group:"http" placeholder:"FILE" help:"Certificate of the ops address, in PEM, which makes it HTTPS."`
	OpsTLSKey       string `name:"ops-tls-key" group:"http" placeholder:"FILE" help:"Key of that certificate."`
	OpsTLSClientCA  string `name:"ops-tls-client-ca" group:"http" placeholder:"FILE" help:"CA certificates of clients: a client of the ops address needs a certificate too."`
}

type workerSettings struct {
	Shards             int           `group:"worker" default:"${shards}" max:"4096" help:"Shards in this process."`
	ShardMailbox       int           `group:"worker" default:"${shard_mailbox}" max:"1000000" help:"Messages that the mailbox of a shard holds."`
	HandlerConcurrency int           `group:"worker" default:"${handler_concurrency}" max:"1000000" help:"Handlers running at once in this process."`
	TenantConcurrency  int           `group:"worker" default:"${tenant_concurrency}" min:"0" max:"1000000" help:"Handlers running at once for one community in this process; 1 is strictly in order; 0 is as many as are still free for others."`
	HandlerTimeout     time.Duration `group:"worker" default:"${handler_timeout}" max:"1h" help:"Time for one handler."`
	MaxAttempts        int           `group:"worker" default:"${max_attempts}" max:"1000" help:"Handler attempts before a message is dead-lettered."`
	RetryBackoff       durations     `group:"worker" default:"${retry_backoff}" max:"1h" help:"Delay before each further attempt, comma-separated, with jitter; the last one repeats. Delays of a second and more are rounded up to whole seconds."`
	RetryUntil         time.Duration `group:"worker" default:"${retry_until}" min:"1s" max:"24h" help:"How long a message that nobody waits for is tried while no handler answers; commands are tried for COMMAND_TTL."`
	CommandTTL         time.Duration `name:"command-ttl" group:"worker" default:"${command_ttl}" min:"0s" help:"Age past which a command is reported expired instead of charged and handled; looked at again when its turn comes; 0s is never."`
	OverloadAge        time.Duration `group:"worker" default:"${overload_age}" min:"0s" max:"1h" help:"How long communities within their due may wait before new commands are refused, free tier first; 0s is never."`
	ShutdownTimeout    time.Duration `group:"worker" default:"${shutdown_timeout}" min:"1s" max:"1h" help:"Time from SIGTERM to exit; what is not finished by then is given back to JetStream."`
}

type tenantSettings struct {
	TenantCacheSize    int           `group:"tenants" default:"${tenant_cache_size}" help:"Tenants cached over all shards."`
	TenantCacheTTL     time.Duration `name:"tenant-cache-ttl" group:"tenants" default:"${tenant_cache_ttl}" help:"Age at which a cached tenant is read again."`
	ReloadPollInterval time.Duration `group:"tenants" default:"${reload_poll_interval}" min:"100ms" max:"1h" help:"Time between two polls for changes whose announcements were lost."`
	LimitOnRedisDown   choice        `group:"tenants" oneof:"local,open,closed" default:"${limit_on_redis_down}" help:"Limits while Redis is away: local (each process enforces them), open (no limits) or closed (messages that have a limit are refused)."`
	MetricsMaxTenants  int           `group:"tenants" default:"${metrics_max_tenants}" help:"Communities with metric series of their own; all other communities share _other."`
}

type consumerSettings struct {
	MaxAckPending int `group:"streams" default:"${max_ack_pending}" help:"Unacknowledged messages of a consumer, over all processes."`
}

type streamSettings struct {
	consumerSettings
	StreamStorage  choice `group:"streams" oneof:"file,memory" default:"${stream_storage}" help:"Where the streams keep messages: file or memory."`
	StreamReplicas int    `group:"streams" default:"${stream_replicas}" max:"5" help:"Servers that hold each stream."`
}

type logSettings struct {
	LogLevel  choice `group:"log" oneof:"debug,info,warn,error" default:"info" help:"debug, info, warn or error."`
	LogFormat choice `group:"log" oneof:"json,text" default:"" placeholder:"FORMAT" help:"json or text. Default: text on a terminal, else json."`
}

// defaults returns the defaults of package worker, under the names that the tags above use.
func defaults() kong.Vars {
	o := worker.Defaults()
	return kong.Vars{
		"shards": strconv.Itoa(o.Shards), "shard_mailbox": strconv.Itoa(o.ShardMailbox),
		"handler_concurrency": strconv.Itoa(o.HandlerConcurrency), "handler_timeout": short(o.HandlerTimeout),
		"tenant_concurrency": strconv.Itoa(o.TenantConcurrency),
		"max_attempts":       strconv.Itoa(o.MaxAttempts), "command_ttl": short(o.CommandTTL),
		"retry_backoff": shortList(o.RetryBackoff), "retry_until": short(o.RetryUntil),
		"overload_age": short(o.OverloadAge), "shutdown_timeout": short(o.ShutdownTimeout),
		"tenant_cache_size": strconv.Itoa(o.TenantCacheSize), "tenant_cache_ttl": short(o.TenantCacheTTL),
		"reload_poll_interval": short(o.ReloadPollInterval), "limit_on_redis_down": o.OnRedisDown.String(),
		"discord_api_url":     o.Discord.APIURL,
		"metrics_max_tenants": strconv.Itoa(o.MetricsMaxTenants),
		"audit_retention":     short(record.DefaultAuditRetention),
		"traces_per_second":   strconv.Itoa(o.Traces.PerSecond),
		"max_ack_pending":     strconv.Itoa(o.Streams.MaxAckPending),
		"stream_storage":      strings.ToLower(o.Streams.Storage.String()), "stream_replicas": strconv.Itoa(o.Streams.Replicas),
	}
}

// variable returns the environment variable of a setting, or "" for a flag that is not a setting.
func variable(f *kong.Flag) string {
	if f == nil || f.Group == nil {
		return ""
	}
	return strings.ToUpper(strings.ReplaceAll(f.Name, "-", "_"))
}

// settingName is the name of a flag in errors. It begins with the environment variable, if there is one, because most
// settings come from the environment.
func settingName(v *kong.Value) string {
	if name := variable(v.Flag); name != "" {
		return name + " (--" + v.Name + ")"
	}
	return "--" + v.Name
}

// describe returns the help text of a flag or an argument.
func describe(v *kong.Value) string {
	if name := variable(v.Flag); name != "" {
		return v.Help + " ($" + name + ")"
	}
	return v.Help
}

// fromEnvironment reads settings from the environment if no flag gives them. An empty variable counts as not set.
func fromEnvironment(lookup func(string) (string, bool)) kong.Resolver {
	return kong.ResolverFunc(func(_ *kong.Context, _ *kong.Path, f *kong.Flag) (any, error) {
		name := variable(f)
		if name == "" {
			return nil, nil //nolint:nilnil // kong's way to say that the variable is not set
		}
		if value, ok := lookup(name); ok && value != "" {
			return value, nil
		}
		return nil, nil //nolint:nilnil // kong's way to say that the variable is not set
	})
}
