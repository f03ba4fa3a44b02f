package main

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/redis/go-redis/v9"

	"arrakis/loadtest/testserver"
)

// startProcess runs serve as a process of its own, which is killed when the test ends.
func startProcess(t *testing.T, env environment) *background {
	t.Helper()
	b := &background{code: make(chan int, 1)}
	cmd := exec.Command(os.Args[0], "serve")
	cmd.Env = append(os.Environ(), asArrakis+"=1")
	for name, value := range env {
		cmd.Env = append(cmd.Env, name+"="+value)
	}
	cmd.Stdout, cmd.Stderr = &b.stdout, &b.stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	b.process = cmd.Process
	var wg sync.WaitGroup
	wg.Go(func() {
		_ = cmd.Wait() // the error says what the exit code says
		b.code <- cmd.ProcessState.ExitCode()
	})
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // it may have ended
		wg.Wait()
		if t.Failed() {
			t.Log(b.stderr.String())
		}
	})
	return b
}

// F1, W5: a process that starts without Redis says so, is ready and handles messages as free tier. When Redis comes up,
// tenants are read and limits are exact over what was admitted before.
func TestF1ServeStartsWithoutRedis(t *testing.T) {
	t.Parallel()
	for policy, admitted := range map[string]int{"local": 10, "open": 12} {
		t.Run(policy, func(t *testing.T) {
			t.Parallel()
			natsServer, redisServer := testserver.NATS(t), testserver.Redis(t)
			redisServer.Kill()
			env := serveEnv(natsServer.URL(), redisServer.Addr())
			env["LIMIT_ON_REDIS_DOWN"] = policy
			answerStats(t, natsServer.Connect(t))
			b := startProcess(t, env)
			ingress, ops := addresses(t, b)
			client := newClient(t)
			testserver.Eventually(t, "serve is ready", func() bool { return ready(t, client, ops) })
			body := do(t, client, http.MethodGet, ops+"/readyz", "").body
			if !bytes.Contains(body, []byte(`"redis":{"status":"degraded"`)) {
				t.Errorf("/readyz does not say that Redis is away: %s", body)
			}
			if n := strings.Count(b.stderr.String(), "starting without Redis"); n != 1 {
				t.Errorf("the log says %d times that it starts without Redis", n)
			}
			ok := 0
			for range 12 {
				if statsOf(t, client, ingress, "p") == http.StatusOK {
					ok++
				}
			}
			if ok != admitted {
				t.Errorf("%d of 12 commands of the free tier are handled without Redis, want %d", ok, admitted)
			}

			redisServer.Start()
			rdb := redisServer.Client(t)
			if err := rdb.Set(t.Context(), "tenant:config:p", `{"tier":"pro"}`, 0).Err(); err != nil {
				t.Fatal(err)
			}
			testserver.Eventually(t, "Redis is back", func() bool {
				return bytes.Contains(do(t, client, http.MethodGet, ops+"/readyz", "").body, []byte(`"redis":{"status":"ok"}`))
			})
			fillsExactly(t, client, ingress, rdb)
		})
	}
}

// fillsExactly sends commands of p, whose tier is pro in Redis, until the limit of 100 is used up.
func fillsExactly(t *testing.T, c *http.Client, ingress string, rdb *redis.Client) {
	t.Helper()
	last := 0
	for range 101 {
		if last = statsOf(t, c, ingress, "p"); last != http.StatusOK {
			break
		}
	}
	n, err := rdb.ZCard(t.Context(), "ratelimit:p:command").Result()
	if last != http.StatusTooManyRequests || n != 100 || err != nil {
		t.Errorf("the last command of the window: status %d; Redis counts %d, %v, want 100", last, n, err)
	}
}

// answerStats answers every stats command.
func answerStats(t *testing.T, nc *nats.Conn) {
	t.Helper()
	if _, err := nc.Subscribe("handlers.command.stats", func(m *nats.Msg) { _ = m.Respond([]byte(`{}`)) }); err != nil {
		t.Fatal(err)
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
}

// statsOf sends a stats command of a community and returns the status code.
func statsOf(t *testing.T, c *http.Client, ingress, community string) int {
	t.Helper()
	return do(t, c, http.MethodPost, ingress+"/v1/commands",
		fmt.Sprintf(`{"guild_id":%q,"data":{"command_name":"stats"}}`, community)).status
}

// F1: under closed nothing could be handled without Redis, so the process waits for it and says so.
func TestF1ServeWaitsForRedisUnderClosed(t *testing.T) {
	t.Parallel()
	natsServer, redisServer := testserver.NATS(t), testserver.Redis(t)
	redisServer.Kill()
	env := serveEnv(natsServer.URL(), redisServer.Addr())
	env["LIMIT_ON_REDIS_DOWN"] = "closed"
	answerStats(t, natsServer.Connect(t))
	b := startProcess(t, env)
	ingress, ops := addresses(t, b)
	client := newClient(t)
	testserver.Eventually(t, "the log says that serve waits", func() bool {
		return strings.Contains(b.stderr.String(), `"msg":"waiting","for":"Redis"`)
	})
	r := do(t, client, http.MethodGet, ops+"/readyz", "")
	if r.status != http.StatusServiceUnavailable || !bytes.Contains(r.body, []byte(`"redis":{"status":"failed"`)) ||
		!bytes.Contains(r.body, []byte("waits for it")) {
		t.Errorf("/readyz: status %d, %s", r.status, r.body)
	}
	redisServer.Start()
	testserver.Eventually(t, "serve is ready", func() bool { return ready(t, client, ops) })
	if status := statsOf(t, client, ingress, "p"); status != http.StatusOK {
		t.Errorf("a command: status %d", status)
	}
}

// F1: a document that cannot be used is named by /readyz and the metrics, and nothing else changes.
func TestF1UnusableDocumentIsShown(t *testing.T) {
	t.Parallel()
	natsServer, m := testserver.NATS(t), testserver.Miniredis(t)
	answerStats(t, natsServer.Connect(t))
	if err := m.Set("arrakis:tiers", `{"free":{"rateLimits":{"commandsPerMinute":"20"}}}`); err != nil {
		t.Fatal(err)
	}
	m.HSet("arrakis:flags", "beta", "on")
	if err := m.Set("tenant:config:p", `{"tier":"gold"}`); err != nil {
		t.Fatal(err)
	}
	b := start(t, serveEnv(natsServer.URL(), m.Addr()), "serve")
	ingress, ops := addresses(t, b)
	client := newClient(t)
	testserver.Eventually(t, "serve is ready", func() bool { return ready(t, client, ops) })
	if status := statsOf(t, client, ingress, "p"); status != http.StatusOK {
		t.Errorf("a command of the tenant: status %d", status)
	}
	get := func(path string) string { return string(do(t, client, http.MethodGet, ops+path, "").body) }
	testserver.Eventually(t, "/readyz names the documents", func() bool {
		return strings.Contains(get("/readyz"),
			`"config":{"status":"degraded","detail":"arrakis:tiers, arrakis:flags beta, tenant:config:p: cannot be used`)
	})
	for _, document := range []string{"tiers", "flags", "tenant"} {
		if series := `arrakis_config_unusable{document="` + document + `"} 1`; !strings.Contains(get("/metrics"), series) {
			t.Errorf("/metrics has no %s", series)
		}
	}
	m.Del("arrakis:tiers")
	m.Del("arrakis:flags")
	m.Del("tenant:config:p")
	testserver.Eventually(t, "/readyz is well", func() bool { return strings.Contains(get("/readyz"), `"status":"ready"`) })
}
