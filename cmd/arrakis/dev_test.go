package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"arrakis/loadtest/testserver"
	"arrakis/pipeline/contract"
)

// devProcess is `arrakis dev`, ready.
type devProcess struct {
	*background
	ingress, ops, nats, redis string // URLs, as its banner says
	client                    *http.Client
}

// env is the environment in which the command line finds the process.
func (d *devProcess) env() environment {
	return environment{"NATS_URL": d.nats, "REDIS_URL": d.redis}
}

// anyPorts keeps tests out of each other's way.
var anyPorts = []string{"--nats-port=0", "--redis-port=0", "--http-addr=127.0.0.1:0", "--ops-addr=127.0.0.1:0"}

func startDev(t *testing.T, args ...string) *devProcess {
	t.Helper()
	// What the environment says of real servers is nothing to dev.
	env := environment{"NATS_URL": "nats://127.0.0.1:1", "REDIS_URL": "redis://127.0.0.1:1"}
	d := &devProcess{background: start(t, env, append(append([]string{"dev"}, anyPorts...), args...)...)}
	var banner string
	testserver.Eventually(t, "dev is ready", func() bool {
		banner = d.stdout.String()
		return strings.HasSuffix(banner, "pro\n\n")
	})
	find := func(name string) string {
		m := regexp.MustCompile(`(?m)^  ` + name + ` +(\S+)`).FindStringSubmatch(banner)
		if m == nil {
			t.Fatalf("the banner does not say where %s is:\n%s", name, banner)
		}
		return m[1]
	}
	d.ingress, d.ops, d.nats, d.redis = find("ingress"), find("ops"), find("NATS"), find("Redis")
	d.client = newClient(t)
	return d
}

func newClient(t *testing.T) *http.Client {
	t.Helper()
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: time.Minute}
}

// connect joins the process's NATS.
func (d *devProcess) connect(t *testing.T) (*nats.Conn, jetstream.JetStream) {
	t.Helper()
	nc := testserver.ConnectNATS(t, d.nats)
	return nc, testserver.JetStream(t, nc)
}

// response is an HTTP response, read.
type response struct {
	status int
	header http.Header
	body   []byte
}

func (r response) outcome(t *testing.T) contract.Outcome {
	t.Helper()
	var o contract.Outcome
	if err := json.Unmarshal(r.body, &o); err != nil {
		t.Fatalf("%v: %s", err, r.body)
	}
	return o
}

// do may be called by any goroutine of a test: a failure is a response without a status.
func do(t *testing.T, c *http.Client, method, url, body string) response {
	t.Helper()
	q, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Error(err)
		return response{}
	}
	q.Header.Set("Content-Type", "application/json")
	r, err := c.Do(q)
	if err != nil {
		t.Error(err)
		return response{}
	}
	defer r.Body.Close() //nolint:errcheck // it is read whole
	b, err := io.ReadAll(r.Body)
	if err != nil {
		t.Error(err)
	}
	return response{r.StatusCode, r.Header, b}
}

func (d *devProcess) command(t *testing.T, community, command, options string) response {
	t.Helper()
	return do(t, d.client, http.MethodPost, d.ingress+"/v1/commands",
		fmt.Sprintf(`{"community_id":%q,"data":{"command_name":%q,"options":%s}}`, community, command, options))
}

// Whoever stops dev while it starts is told of no failure.
func TestDevStoppedWhileItStarts(t *testing.T) {
	t.Parallel()
	b := start(t, environment{}, append([]string{"dev"}, anyPorts...)...)
	b.stop()
	if code := b.exit(t); code != 0 || strings.Contains(b.stderr.String(), "arrakis:") {
		t.Errorf("code %d\n%s", code, b.stderr.String())
	}
}
