package main

import (
	"context"
	"encoding/json"
	"os"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"arrakis/loadtest/testserver"
)

func TestHelpGolden(t *testing.T) {
	t.Setenv("COLUMNS", "") // kong asks for the width
	for _, command := range []string{
		"", "dev", "serve", "send", "usage", "explain", "tenant", "tenant get", "tenant list", "tenant set", "tenant boost", "tenant upgrade",
		"tenant delete", "tenant move", "tenant rebuild", "tenant reconcile", "tenant import", "migrate", "migrate up", "migrate status", "migrate down", "account", "account get", "account list", "account set", "account communities", "account delete", "tiers", "tiers get", "tiers set", "flag", "flag get", "flag list", "flag set", "flag delete", "reset", "reload", "audit", "discord", "discord invite", "discord register", "discord reconcile", "discord sku", "discord sku list", "discord sku set", "discord sku delete",
		"status", "provision", "version",
	} {
		t.Run(command, func(t *testing.T) {
			r := arrakis(t, nil, append(strings.Fields(command), "--help")...)
			if r.code != exitDone || r.stderr != "" {
				t.Errorf("exit code %d, stderr %q", r.code, r.stderr)
			}
			for line := range strings.Lines(r.stdout) {
				if len(line) > 101 {
					t.Errorf("wider than 100 columns: %s", line)
				}
			}
			testserver.Golden(t, "help/"+strings.ReplaceAll("arrakis "+command, " ", "_")+".txt", r.stdout)
		})
	}
}

// TestEverySettingOfTheContract holds serve's help against the table of DESIGN.md: every setting is a flag and a
// variable, with its default.
func TestEverySettingOfTheContract(t *testing.T) {
	t.Setenv("COLUMNS", "300")
	help := arrakis(t, nil, "serve", "--help").stdout
	for variable, value := range map[string]string{
		"NATS_URL": "", "NATS_CREDS": "", "NATS_NKEY": "", "NATS_TOKEN": "", "NATS_TLS_CA": "", "NATS_TLS_CERT": "", "NATS_TLS_KEY": "",
		"REDIS_URL": `"redis://localhost:6379"`,
		"HTTP_ADDR": `":8080"`, "OPS_ADDR": `"127.0.0.1:8081"`,
		"INGRESS_TOKEN": "", "INGRESS_AUTH": "", "ADMIN_TOKEN": "", "ADMIN_TOKENS": "", "VIEW_TOKEN": "", "OPS_HOSTS": "",
		"DISCORD_PUBLIC_KEY": "", "DISCORD_APPLICATION_ID": "", "DISCORD_API_URL": `"https://discord.com/api/v10"`, "DISCORD_EPHEMERAL": "",
		"HTTP_TLS_CERT": "", "HTTP_TLS_KEY": "", "HTTP_TLS_CLIENT_CA": "", "OPS_TLS_CERT": "", "OPS_TLS_KEY": "", "OPS_TLS_CLIENT_CA": "",
		"SHARDS": "64", "SHARD_MAILBOX": "1024", "HANDLER_CONCURRENCY": "256", "TENANT_CONCURRENCY": "0", "HANDLER_TIMEOUT": "15s",
		"MAX_ATTEMPTS": "5", "RETRY_BACKOFF": `"1s,5s,15s,60s"`, "RETRY_UNTIL": "1h", "COMMAND_TTL": "15m", "OVERLOAD_AGE": "2s", "MAX_ACK_PENDING": "10000",
		"TENANT_CACHE_SIZE": "100000", "TENANT_CACHE_TTL": "30s", "RELOAD_POLL_INTERVAL": "30s",
		"LIMIT_ON_REDIS_DOWN": `"local"`, "METRICS_MAX_TENANTS": "10000",
		"STREAM_STORAGE": `"file"`, "STREAM_REPLICAS": "1", "SHUTDOWN_TIMEOUT": "30s",
		"LOG_LEVEL": `"info"`, "LOG_FORMAT": "",
	} {
		flag := "--" + strings.ToLower(strings.ReplaceAll(variable, "_", "-")) + "=" + value
		if !strings.Contains(help, flag) || !strings.Contains(help, "$"+variable) {
			t.Errorf("--help does not say %s and $%s", flag, variable)
		}
	}
	if dev := arrakis(t, nil, "dev", "--help").stdout; !strings.Contains(dev, `--http-addr="127.0.0.1:8080"`) {
		t.Error("dev must listen on this machine only")
	}
}

func TestExitCodes(t *testing.T) {
	redis := environment{"REDIS_URL": "redis://" + testserver.Miniredis(t).Addr()}
	closed := environment{"NATS_URL": "nats://127.0.0.1:1", "REDIS_URL": "redis://127.0.0.1:1"}
	for _, tt := range []struct {
		name   string
		env    environment
		args   string
		code   int
		stderr string // a part of it
	}{
		{"no command", nil, "", exitUsage, "arrakis --help"},
		{"unknown command", nil, "dance", exitUsage, "dance"},
		{"unknown flag", nil, "version --loud", exitUsage, "--loud"},
		{"missing argument", nil, "usage", exitUsage, "<community>"},
		{"help of the command", nil, "dlq show", exitUsage, "\"; run \"arrakis dlq show --help\"\n"},
		{"missing value", nil, "tenant boost comm_001 --commands --end", exitUsage, `--commands: expected a value but got "--end"`},
		{"bad community", nil, "usage a.b", exitUsage, `"a.b"`},
		{"bad tier", nil, "tenant upgrade comm_001 gold", exitUsage, "free, pro or enterprise"},
		{"bad action", nil, "reset comm_001 dance", exitUsage, "sync_request"},
		{"bad limit", nil, "tenant set comm_001 --commands=-2", exitUsage, "commandsPerMinute"},
		{"no limit", nil, "tenant set comm_001 --commands=many", exitUsage, "--commands"},
		{"bad weight", nil, "tenant set comm_001 --weight=101", exitUsage, "from 1 to 100"},
		{"no weight", nil, "tenant set comm_001 --weight=3.5", exitUsage, `--weight is "3.5": expected a number from 1 to 100, or default`},
		{"bad number of delayed messages", nil, "tenant set comm_001 --max-delayed=few", exitUsage, "--max-delayed"},
		{"bad policy", nil, "tenant set comm_001 --on-limit=wait", exitUsage, "delay or reject"},
		{"bad mode", nil, "tenant set comm_001 --mode=off", exitUsage, "enforce or shadow"},
		{"bad boost", nil, "tenant boost comm_001 --commands=+0 --for=2h", exitUsage, `--commands is "+0": expected a whole number from 1 to 1000000000`},
		{"boost below 0", nil, "tenant boost comm_001 --user-commands=-5 --for=2h", exitUsage, `--user-commands is "-5": expected a whole number from 1 to`},
		{"no boost", nil, "tenant boost comm_001 --syncs=many --for=2h", exitUsage, `--syncs is "many": expected a whole number from 1 to 1000000000`},
		{"nothing to boost", nil, "tenant boost comm_001 --for=2h", exitUsage, "--commands=+500"},
		{"boost without an end", nil, "tenant boost comm_001 --checks=+5", exitUsage, "--for=2h"},
		{"boost for too long", nil, "tenant boost comm_001 --user-commands=5 --for=745h", exitUsage, `--for is "745h": expected a duration with a unit, such as 30s or 5m, from 1s to 744h`},
		{"boost and end", nil, "tenant boost comm_001 --commands=+5 --end", exitUsage, "--end"},
		{"bad tenant to boost", nil, "tenant boost a.b --commands=+5 --for=2h", exitUsage, `"a.b"`},
		{"no boost to end", redis, "tenant boost comm_001 --end", exitFailed, "nothing to end"},
		{"rate of no traffic", nil, "dev --traffic-rate=10", exitUsage, "give --traffic with it"},
		{"nothing to set", nil, "tenant set comm_001", exitUsage, "--tier"},
		{"bad data", nil, "send comm_001 ping --data [1]", exitUsage, "JSON object"},
		{"bad command name", nil, "send comm_001 Ping", exitUsage, "command_name"},
		{"bad rollout", nil, "flag set x --rollout 101", exitUsage, "rolloutPercent"},
		{"bad cursor", redis, "tenant list --cursor x", exitUsage, "cursor"},
		{"bad REDIS_URL", environment{"REDIS_URL": "bogus"}, "usage comm_001", exitUsage, "REDIS_URL"},
		{"bad REDIS_URL to set", environment{"REDIS_URL": "bogus"}, "tiers set {}", exitUsage, "REDIS_URL"},
		{"bad NATS_URL", environment{"NATS_URL": "http://x"}, "send comm_001 ping", exitUsage, "NATS_URL"},
		{"bad tenant", redis, "tenant get a.b", exitUsage, `"a.b"`},
		{"bad tenant to set", redis, "tenant set a.b --tier pro", exitUsage, `"a.b"`},
		{"bad tenant to upgrade", redis, "tenant upgrade a.b pro", exitUsage, `"a.b"`},
		{"bad tenant to delete", redis, "tenant delete a.b", exitUsage, `"a.b"`},
		{"bad flag", redis, "flag get a/b", exitUsage, "id: must be"},
		{"bad flag to set", redis, "flag set a/b --on", exitUsage, "id: must be"},
		{"bad flag to delete", redis, "flag delete a/b", exitUsage, "id: must be"},
		{"invite of nobody", nil, "discord invite", exitUsage, "DISCORD_APPLICATION_ID"},
		{"bad permissions", nil, "discord invite --discord-application-id=1 --permissions=admin", exitUsage, "--permissions"},
		{"bad guild", nil, "discord invite --discord-application-id=1 --guild=home", exitUsage, "--guild"},
		{"no Redis", closed, "usage comm_001", exitFailed, "arrakis dev"},
		{"no NATS", closed, "send comm_001 ping", exitFailed, "arrakis dev"},
		{"no NATS to provision", closed, "provision", exitFailed, "NATS_URL"},
		{"no NATS to look at", closed, "status", exitFailed, "NATS_URL"},
		{"version", nil, "version", exitDone, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := arrakis(t, tt.env, strings.Fields(tt.args)...)
			if r.code != tt.code {
				t.Errorf("exit code %d, want %d", r.code, tt.code)
			}
			if !strings.Contains(r.stderr, tt.stderr) {
				t.Errorf("stderr does not say %q: %s", tt.stderr, r.stderr)
			}
			for line := range strings.Lines(r.stderr) {
				if !strings.HasPrefix(line, "arrakis: ") {
					t.Errorf("stderr: %q", line)
				}
			}
		})
	}
}

func TestServeWithoutSettings(t *testing.T) {
	r := arrakis(t, nil, "serve")
	if r.code != exitUsage || strings.Count(r.stderr, "\n") != 1 ||
		!strings.Contains(r.stderr, "NATS_URL") || !strings.Contains(r.stderr, "INGRESS_AUTH=none") {
		t.Errorf("exit code %d, stderr:\n%s", r.code, r.stderr)
	}
	r = arrakis(t, environment{"RABBITMQ_URL": "amqp://user:hunter2@rabbit", "INGRESS_AUTH": "none"}, "serve")
	if r.code != exitUsage || strings.Count(r.stderr, "\n") != 1 || strings.Contains(r.stderr, "INGRESS") ||
		!strings.Contains(r.stderr, "RABBITMQ_URL is no longer supported") || strings.Contains(r.stderr, "hunter2") {
		t.Errorf("exit code %d, stderr:\n%s", r.code, r.stderr)
	}
}

func TestEveryFaultAtOnce(t *testing.T) {
	r := arrakis(t, environment{
		"SHARDS": "none", "SHARD_MAILBOX": "0", "HANDLER_CONCURRENCY": "1.5", "TENANT_CONCURRENCY": "-1", "HANDLER_TIMEOUT": "15",
		"MAX_ATTEMPTS": "-1", "RETRY_BACKOFF": "1s,5", "RETRY_UNTIL": "0s", "COMMAND_TTL": "-1s", "OVERLOAD_AGE": "2", "MAX_ACK_PENDING": "", "TENANT_CACHE_SIZE": "many",
		"TENANT_CACHE_TTL": "0s", "RELOAD_POLL_INTERVAL": "1ms", "LIMIT_ON_REDIS_DOWN": "Local",
		"METRICS_MAX_TENANTS": "x", "STREAM_STORAGE": "disk", "STREAM_REPLICAS": "6", "SHUTDOWN_TIMEOUT": "0s",
		"LOG_LEVEL": "loud", "LOG_FORMAT": "xml", "INGRESS_AUTH": "maybe", "INGRESS_TOKEN": "two words",
		"ADMIN_TOKEN": "tab\there", "ADMIN_TOKENS": "ada=root:hunter2", "VIEW_TOKEN": "a,,b", "HTTP_ADDR": "8080", "OPS_ADDR": "localhost:http",
		"DISCORD_PUBLIC_KEY": "hunter2", "DISCORD_APPLICATION_ID": "hunter2", "DISCORD_API_URL": "https://:hunter2@proxy", "DISCORD_EPHEMERAL": "Usage", "REDIS_URL": "http://redis:hunter2@r",
		"NATS_URL": "nats://u:hunter2@", "NATS_TLS_CERT": "/no/such/file",
	}, "serve", "--shards=5000")
	if r.code != exitUsage {
		t.Errorf("exit code %d", r.code)
	}
	for _, name := range []string{
		"SHARDS", "SHARD_MAILBOX", "HANDLER_CONCURRENCY", "TENANT_CONCURRENCY", "HANDLER_TIMEOUT", "MAX_ATTEMPTS", "RETRY_BACKOFF", "RETRY_UNTIL", "COMMAND_TTL", "OVERLOAD_AGE",
		"TENANT_CACHE_SIZE", "TENANT_CACHE_TTL", "RELOAD_POLL_INTERVAL", "LIMIT_ON_REDIS_DOWN", "METRICS_MAX_TENANTS",
		"STREAM_STORAGE", "STREAM_REPLICAS", "SHUTDOWN_TIMEOUT", "LOG_LEVEL", "LOG_FORMAT", "INGRESS_AUTH", "INGRESS_TOKEN",
		"ADMIN_TOKEN", "ADMIN_TOKENS", "VIEW_TOKEN", "HTTP_ADDR", "OPS_ADDR", "DISCORD_PUBLIC_KEY", "DISCORD_APPLICATION_ID", "DISCORD_API_URL", "DISCORD_EPHEMERAL", "REDIS_URL", "NATS_URL", "NATS_TLS_KEY", "/no/such/file",
	} {
		if n := strings.Count(r.stderr, "arrakis: "+name+" "); n != 1 && !strings.Contains(r.stderr, name) {
			t.Errorf("%s is not named once, but %d times", name, n)
		}
	}
	if !strings.Contains(r.stderr, `SHARDS (--shards) is "5000": expected a whole number from 1 to 4096`) {
		t.Error("the flag must win over the variable")
	}
	if strings.Contains(r.stderr, "MAX_ACK_PENDING") {
		t.Error("an empty variable is one that is not set")
	}
	if strings.Contains(r.stderr, "hunter2") || strings.Contains(r.stderr, "two words") {
		t.Error("a secret is printed")
	}
	if t.Failed() {
		t.Log(r.stderr)
	}
}

func TestVersion(t *testing.T) {
	r := arrakis(t, nil, "version", "--json")
	var b build
	if err := json.Unmarshal([]byte(r.stdout), &b); err != nil || b.Version == "" || !strings.HasPrefix(b.Go, "go") {
		t.Errorf("%v: %s", err, r.stdout)
	}
}

func TestSignals(t *testing.T) {
	t.Parallel()
	t.Run("none", func(t *testing.T) {
		if code := interruptible(nil, t.Output(), func(context.Context) int { return 7 }); code != 7 {
			t.Errorf("exit code %d", code)
		}
	})
	t.Run("first drains", func(t *testing.T) {
		signals := make(chan os.Signal, 2)
		signals <- syscall.SIGTERM
		code := interruptible(signals, t.Output(), func(ctx context.Context) int { <-ctx.Done(); return exitDone })
		if code != exitDone {
			t.Errorf("exit code %d", code)
		}
	})
	for _, tt := range []struct {
		name   string
		after  time.Duration
		second os.Signal
		code   int
	}{
		{"twice at once drains", 0, syscall.SIGTERM, exitDone},
		{"twice drains", sameSignal - 1, syscall.SIGTERM, exitDone},
		{"second leaves", sameSignal, syscall.SIGTERM, exitFailed},
		{"another leaves at once", 0, syscall.SIGINT, exitFailed},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				signals := make(chan os.Signal, 2)
				signals <- syscall.SIGTERM
				time.AfterFunc(tt.after, func() { signals <- tt.second })
				var stderr testserver.Output
				gone := make(chan struct{})
				code := interruptible(signals, &stderr, func(context.Context) int {
					select {
					case <-gone:
					case <-time.After(time.Minute):
					}
					return exitDone
				})
				close(gone)
				if code != tt.code || strings.Contains(stderr.String(), "second signal") != (code == exitFailed) {
					t.Errorf("exit code %d, stderr %q", code, stderr.String())
				}
			})
		})
	}
}

func TestShort(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0s", 900 * time.Millisecond: "900ms", time.Second: "1s", 1100 * time.Millisecond: "2s",
		time.Minute: "1m", 90 * time.Second: "1m30s", time.Hour: "1h", 24 * time.Hour: "24h",
		61 * time.Minute: "1h1m", 10 * time.Minute: "10m", 100 * time.Second: "1m40s", time.Hour + 30*time.Second: "1h0m30s",
	} {
		if got := short(d); got != want {
			t.Errorf("short(%d) = %s, want %s", d, got, want)
		}
	}
}
