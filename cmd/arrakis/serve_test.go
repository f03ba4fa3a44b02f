package main

import (
	"bytes"
	"context"
	"net"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"arrakis/loadtest/testserver"
)

// serveEnv are settings with which serve starts.
func serveEnv(natsURL, redisAddr string) environment {
	return environment{
		"NATS_URL": natsURL, "REDIS_URL": "redis://" + redisAddr, "INGRESS_AUTH": "none",
		"HTTP_ADDR": "127.0.0.1:0", "OPS_ADDR": "127.0.0.1:0",
	}
}

// addresses are what the log says serve listens on.
func addresses(t *testing.T, b *background) (ingress, ops string) {
	t.Helper()
	listening := regexp.MustCompile(`"msg":"listening","http":"([^"]+)","ops":"([^"]+)"`)
	var m []string
	testserver.Eventually(t, "serve listens", func() bool {
		m = listening.FindStringSubmatch(b.stderr.String())
		return m != nil
	})
	return "http://" + m[1], "http://" + m[2]
}

func ready(t *testing.T, c *http.Client, ops string) bool {
	t.Helper()
	return do(t, c, http.MethodGet, ops+"/readyz", "").status == http.StatusOK
}

// TestServe runs a command whose handler is a NATS micro service elsewhere.
func TestServe(t *testing.T) {
	t.Parallel()
	natsServer := testserver.NATS(t)
	env := serveEnv(natsServer.URL(), testserver.Miniredis(t).Addr())
	env["RABBITMQ_URL"] = "amqp://rabbit"
	b := start(t, env, "serve")
	ingress, ops := addresses(t, b)
	client := newClient(t)
	testserver.Eventually(t, "serve is ready", func() bool { return ready(t, client, ops) })
	if n := strings.Count(b.stderr.String(), "RABBITMQ_URL"); n != 1 {
		t.Errorf("RABBITMQ_URL is reported %d times", n)
	}

	nc := natsServer.Connect(t)
	_, err := nc.Subscribe("handlers.command.stats", func(m *nats.Msg) {
		_ = m.Respond([]byte(`{"community":"` + m.Header.Get("Arrakis-Community") + `","tier":"` + m.Header.Get("Arrakis-Tier") + `"}`))
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	r := do(t, client, http.MethodPost, ingress+"/v1/commands", `{"guild_id":"700000000000000001","data":{"command_name":"stats"}}`)
	if r.status != http.StatusOK || !bytes.Contains(r.body, []byte(`"result":{"community":"700000000000000001","tier":"free"}`)) {
		t.Errorf("status %d, %s", r.status, r.body)
	}

	b.stop()
	if code := b.exit(t); code != exitDone {
		t.Errorf("exit code %d", code)
	}
	if log := b.stderr.String(); !strings.Contains(log, `"msg":"stopped"`) || strings.Contains(log, `"level":"ERROR"`) {
		t.Error("the log does not end well")
	}
}

// TestServeWaits starts serve before NATS and Redis.
func TestServeWaits(t *testing.T) {
	t.Parallel()
	natsServer, m := testserver.NATS(t), testserver.Miniredis(t)
	env := serveEnv(strings.Replace(natsServer.URL(), "//", "//user:hunter2@", 1), m.Addr())
	env["LIMIT_ON_REDIS_DOWN"] = "closed"
	natsServer.Stop()
	m.Close()
	b := start(t, env, "serve")
	ingress, ops := addresses(t, b)
	client := newClient(t)
	testserver.Eventually(t, "serve says what it waits for", func() bool {
		log := b.stderr.String()
		return strings.Contains(log, `"msg":"waiting","for":"NATS"`) && strings.Contains(log, `"msg":"waiting","for":"Redis"`)
	})
	if r := do(t, client, http.MethodGet, ingress+"/healthz", ""); r.status != http.StatusOK {
		t.Errorf("/healthz: status %d: an orchestrator would restart it", r.status)
	}
	r := do(t, client, http.MethodGet, ops+"/readyz", "")
	if r.status != http.StatusServiceUnavailable || !bytes.Contains(r.body, []byte(`"nats":{"status":"failed"`)) {
		t.Errorf("/readyz: status %d, %s", r.status, r.body)
	}
	r = do(t, client, http.MethodPost, ingress+"/v1/commands", `{"guild_id":"1","data":{"command_name":"stats"}}`)
	if r.status != http.StatusServiceUnavailable || r.header.Get("Retry-After") == "" {
		t.Errorf("the ingress: status %d, %v", r.status, r.header)
	}
	natsServer.Start()
	if err := m.Restart(); err != nil {
		t.Fatal(err)
	}
	testserver.Eventually(t, "serve is ready", func() bool { return ready(t, client, ops) })
	if strings.Contains(b.stderr.String(), "hunter2") {
		t.Error("the log holds a password")
	}
	b.stop() // before NATS, which the drain would wait for
	if code := b.exit(t); code != exitDone {
		t.Errorf("exit code %d", code)
	}
}

// TestServeStopsWhileWaiting is Ctrl-C before anything is there.
func TestServeStopsWhileWaiting(t *testing.T) {
	t.Parallel()
	b := start(t, serveEnv("nats://127.0.0.1:1", "127.0.0.1:1"), "serve")
	testserver.Eventually(t, "serve waits", func() bool { return strings.Contains(b.stderr.String(), `"msg":"waiting","for":"NATS"`) })
	b.stop()
	if code := b.exit(t); code != exitDone {
		t.Errorf("exit code %d", code)
	}
}

func TestTakenAddress(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = taken.Close() })
	for _, flag := range []string{"--http-addr", "--ops-addr"} {
		args := append([]string{"dev"}, anyPorts...)
		r := arrakis(t, nil, append(args, flag+"="+taken.Addr().String())...)
		if r.code != exitFailed || !strings.Contains(r.stderr, flag) || !strings.Contains(r.stderr, taken.Addr().String()) {
			t.Errorf("%s: exit code %d, stderr %s", flag, r.code, r.stderr)
		}
	}
}

func TestDevTakesTheNextFreePorts(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = taken.Close() })
	port := taken.Addr().(*net.TCPAddr).Port //nolint:forcetypeassert // a TCP listener's address
	free, err := freePort(port)
	if err != nil || free <= port || free > port+20 {
		t.Errorf("freePort(%d) = %d, %v", port, free, err)
	}
}

func TestTurnClock(t *testing.T) {
	t.Parallel()
	m := testserver.Miniredis(t)
	m.Set("key", "value") //nolint:errcheck // a string key on an empty server
	m.SetTTL("key", time.Second)
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { turnClock(ctx, m) })
	testserver.Eventually(t, "the key expires", func() bool { return !m.Exists("key") })
	cancel()
	wg.Wait()
}
