package main

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/alecthomas/kong"

	"arrakis/limiter"
	"arrakis/pipeline/http/auth"
)

// localNATS is where the command line looks for NATS unless told otherwise,
// and where `arrakis dev` has it.
const localNATS = "nats://127.0.0.1:4222"

// The settings, in groups that commands embed. A flag with a group is a
// setting: its environment variable is its name in capitals.

var settingGroups = kong.ExplicitGroups([]kong.Group{
	{Key: "nats", Title: "NATS:"},
	{Key: "redis", Title: "Redis:"},
	{Key: "http", Title: "HTTP:"},
	{Key: "worker", Title: "Worker:"},
	{Key: "tenants", Title: "Tenants and limits:"},
	{Key: "streams", Title: "Streams that arrakis creates:"},
	{Key: "log", Title: "Log:"},
})

type natsSettings struct {
	URL     string `name:"nats-url" group:"nats" placeholder:"${nats_hint}" default:"${nats_url}" help:"NATS servers, comma-separated.${nats_note}"`
	Creds   string `name:"nats-creds" group:"nats" placeholder:"FILE" help:"Credentials file."`
	TLSCA   string `name:"nats-tls-ca" group:"nats" placeholder:"FILE" help:"CA certificates that the server's is checked with. Default: the system's."`
	TLSCert string `name:"nats-tls-cert" group:"nats" placeholder:"FILE" help:"Client certificate."`
	TLSKey  string `name:"nats-tls-key" group:"nats" placeholder:"FILE" help:"Key of the client certificate."`
}

type redisSettings struct {
	URL string `name:"redis-url" group:"redis" default:"redis://localhost:6379" help:"redis://, rediss:// (TLS) or unix://. Several addresses, comma-separated, mean a cluster. Sentinel: redis+sentinel://host,host/master."`
}

type httpSettings struct {
	HTTPAddr     string `name:"http-addr" group:"http" default:"${http_addr}" help:"Address of the ingress and of health."`
	OpsAddr      string `name:"ops-addr" group:"http" default:"127.0.0.1:8081" help:"Address of metrics, health, the admin API and pprof."`
	IngressToken string `name:"ingress-token" group:"http" placeholder:"TOKEN" help:"Bearer token that the ingress asks for."`
	IngressAuth  choice `name:"ingress-auth" group:"http" oneof:"none" default:"" placeholder:"none" help:"none lets everybody in who reaches the ingress; serve needs this or a token."`
	AdminToken   string `name:"admin-token" group:"http" placeholder:"TOKEN" help:"Bearer token of the admin API and pprof. Without one they answer only on a loopback address."`
}

type workerSettings struct {
	Shards             int           `group:"worker" default:"64" max:"4096" help:"Shards in this process."`
	ShardMailbox       int           `group:"worker" default:"1024" max:"1000000" help:"Messages that the mailbox of a shard holds."`
	HandlerConcurrency int           `group:"worker" default:"256" max:"1000000" help:"Handlers running at once in this process."`
	HandlerTimeout     time.Duration `group:"worker" default:"15s" max:"1h" help:"Time for one handler."`
	MaxAttempts        int           `group:"worker" default:"3" max:"1000" help:"Handler attempts before a message is dead-lettered."`
	CommandTTL         time.Duration `name:"command-ttl" group:"worker" default:"15m" min:"0s" help:"Age past which a command is reported expired instead of handled; 0s is never."`
	ShutdownTimeout    time.Duration `group:"worker" default:"30s" min:"1s" max:"1h" help:"Time for work in flight after SIGTERM."`
}

type tenantSettings struct {
	TenantCacheSize    int           `group:"tenants" default:"100000" help:"Tenants cached over all shards."`
	TenantCacheTTL     time.Duration `name:"tenant-cache-ttl" group:"tenants" default:"30s" help:"Age at which a cached tenant is read again."`
	ReloadPollInterval time.Duration `group:"tenants" default:"30s" min:"100ms" max:"1h" help:"Poll for changes that were not announced."`
	LimitOnRedisDown   choice        `group:"tenants" oneof:"local,open,closed" default:"local" help:"Limits while Redis is away: local (enforced by each process), open (none) or closed (no messages)."`
	MetricsMaxTenants  int           `group:"tenants" default:"10000" help:"Communities with metric series of their own; the rest share _other."`
}

type consumerSettings struct {
	MaxAckPending int `group:"streams" default:"10000" help:"Unacknowledged messages of a consumer, over all processes."`
}

type streamSettings struct {
	consumerSettings
	StreamStorage  choice `group:"streams" oneof:"file,memory" default:"file" help:"Where they keep messages: file or memory."`
	StreamReplicas int    `group:"streams" default:"1" max:"5" help:"Servers that hold each stream."`
}

type logSettings struct {
	LogLevel  choice `group:"log" oneof:"debug,info,warn,error" default:"info" help:"debug, info, warn or error."`
	LogFormat choice `group:"log" oneof:"json,text" default:"" placeholder:"FORMAT" help:"json or text. Default: text on a terminal, else json."`
}

// variable is the environment variable of a setting, "" for a flag that is
// none.
func variable(f *kong.Flag) string {
	if f == nil || f.Group == nil {
		return ""
	}
	return strings.ToUpper(strings.ReplaceAll(f.Name, "-", "_"))
}

// settingName is what errors call a flag: by its variable if it has one, for
// that is how most are set.
func settingName(v *kong.Value) string {
	if name := variable(v.Flag); name != "" {
		return name + " (--" + v.Name + ")"
	}
	return "--" + v.Name
}

// describe is the help of a flag or an argument.
func describe(v *kong.Value) string {
	if name := variable(v.Flag); name != "" {
		return v.Help + " ($" + name + ")"
	}
	return v.Help
}

// fromEnvironment resolves settings that no flag gives. An empty variable is
// one that is not set.
func fromEnvironment(lookup func(string) (string, bool)) kong.Resolver {
	return kong.ResolverFunc(func(_ *kong.Context, _ *kong.Path, f *kong.Flag) (any, error) {
		name := variable(f)
		if name == "" {
			return nil, nil //nolint:nilnil // how a kong.Resolver says "not here"
		}
		if value, ok := lookup(name); ok && value != "" {
			return value, nil
		}
		return nil, nil //nolint:nilnil // as above
	})
}

func (s *natsSettings) validate() error {
	var errs []error
	if s.URL != "" && !validServers(s.URL) {
		errs = append(errs, errors.New("NATS_URL (--nats-url): expected servers such as nats://host:4222, comma-separated"))
	}
	if (s.TLSCert == "") != (s.TLSKey == "") {
		errs = append(errs, errors.New("NATS_TLS_CERT and NATS_TLS_KEY belong together: set both or neither"))
	}
	for _, f := range []struct{ name, path string }{
		{"NATS_CREDS", s.Creds}, {"NATS_TLS_CA", s.TLSCA}, {"NATS_TLS_CERT", s.TLSCert}, {"NATS_TLS_KEY", s.TLSKey},
	} {
		if f.path == "" {
			continue
		}
		if _, err := os.Stat(f.path); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", f.name, err))
		}
	}
	return errors.Join(errs...)
}

// validServers reports whether urls are what nats.go takes for servers: its own
// errors would repeat a password.
func validServers(urls string) bool {
	for server := range strings.SplitSeq(urls, ",") {
		server = strings.TrimSpace(server)
		if !strings.Contains(server, "://") {
			server = "nats://" + server
		}
		u, err := url.Parse(server)
		if err != nil || u.Hostname() == "" || !slices.Contains([]string{"nats", "tls", "ws", "wss"}, u.Scheme) {
			return false
		}
	}
	return true
}

func (s *redisSettings) validate() error {
	_, err := parseRedisURL(s.URL)
	return err
}

func (s *httpSettings) validate() error {
	errs := []error{validAddr("HTTP_ADDR (--http-addr)", s.HTTPAddr), validAddr("OPS_ADDR (--ops-addr)", s.OpsAddr)}
	if _, err := auth.NewBearer(s.IngressToken); err != nil {
		errs = append(errs, fmt.Errorf("INGRESS_TOKEN (--ingress-token): %w", err))
	}
	if _, err := auth.NewBearer(s.AdminToken); err != nil {
		errs = append(errs, fmt.Errorf("ADMIN_TOKEN (--admin-token): %w", err))
	}
	return errors.Join(errs...)
}

// validAddr checks an address to listen on.
func validAddr(name, addr string) error {
	_, port, err := net.SplitHostPort(addr)
	if err == nil {
		_, err = strconv.ParseUint(port, 10, 16)
	}
	if err != nil {
		return fmt.Errorf("%s is %q: expected host:port or :port, such as 127.0.0.1:8080", name, addr)
	}
	return nil
}

// policy is LIMIT_ON_REDIS_DOWN as the limiter takes it.
func (s *tenantSettings) policy() limiter.Policy {
	for _, p := range []limiter.Policy{limiter.Open, limiter.Closed} {
		if string(s.LimitOnRedisDown) == p.String() {
			return p
		}
	}
	return limiter.Local
}
