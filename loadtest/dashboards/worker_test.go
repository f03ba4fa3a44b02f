package dashboards

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"arrakis/loadtest/testserver"
	"arrakis/loadtest/testserver/fakediscord"
)

// commandTTL is short, so that a command is soon too old.
const commandTTL = 5 * time.Second

// bed is a worker, `arrakis serve`, on a NATS server and a Redis of its own, and a service that handles its messages.
type bed struct {
	t       *testing.T
	js      jetstream.JetStream
	redis   *testserver.TCPProxy
	discord *fakediscord.Server
	client  *http.Client
	ingress string // URL
	ops     string // host:port
	sent    int
}

func startWorker(t *testing.T) *bed {
	t.Helper()
	ns, rdb := testserver.NATS(t), testserver.Redis(t)
	nc := ns.Connect(t)
	ca := testserver.NewCA(t)
	cert, key := ca.Issue(t.TempDir(), "ingress")
	b := &bed{
		t: t, js: testserver.JetStream(t, nc), redis: testserver.Proxy(t, rdb.Addr()), ops: freeAddr(t),
		client: &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: ca.Pool, MinVersion: tls.VersionTLS12}}},
	}
	t.Cleanup(b.client.CloseIdleConnections)
	b.discord = fakediscord.New(fakediscord.Options{Client: b.client})
	api, err := b.discord.Start("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.discord.Close() }) // nothing is pending
	listen := freeAddr(t)
	b.ingress = "https://" + listen
	env := []string{
		"NATS_URL=" + ns.URL(), "REDIS_URL=redis://" + b.redis.Addr(), "POSTGRES_URL=" + testserver.PostgresDatabase(t), "HTTP_ADDR=" + listen, "OPS_ADDR=" + b.ops,
		"HTTP_TLS_CERT=" + cert, "HTTP_TLS_KEY=" + key, "INGRESS_AUTH=none", "STREAM_STORAGE=memory",
		"COMMAND_TTL=" + commandTTL.String(), "MAX_ATTEMPTS=2", "RETRY_BACKOFF=1s", "LOG_LEVEL=error",
		"OTEL_EXPORTER_OTLP_ENDPOINT=http://" + freeAddr(t), // no collector: spans are lost
		"DISCORD_PUBLIC_KEY=" + b.discord.PublicKey(), "DISCORD_API_URL=" + api,
	}
	binary := filepath.Join(t.TempDir(), "arrakis")
	run := func(path string, args ...string) {
		c := exec.CommandContext(t.Context(), path, args...)
		c.Env = append(c.Environ(), env...)
		if out, err := c.CombinedOutput(); err != nil {
			t.Fatalf("%s %q: %v\n%s", path, args, err, out)
		}
	}
	run("go", "-C", "../..", "build", "-o", binary, "./cmd/arrakis")
	run(binary, "provision", "--apply")
	run(binary, "tenant", "move", "--from=redis", "--to=postgres") // of none
	run(binary, "tenant", "set", "shadow", "--mode=shadow", "--commands=1")
	run(binary, "tenant", "set", "delayed", "--data", `{"onLimit":{"eligibility_check":"delay"},"rateLimits":{"eligibilityChecksPerHour":1}}`)
	b.serveHandlers(nc)
	b.publishExpired()
	start(t, env, binary, "serve")
	return b
}

// serveHandlers handles all messages: by their names, some are refused and some fail.
func (b *bed) serveHandlers(nc *nats.Conn) {
	b.t.Helper()
	_, err := nc.Subscribe("handlers.>", func(m *nats.Msg) {
		reply := nats.NewMsg(m.Reply)
		reply.Data = []byte(`"done"`)
		code := map[string]string{"handlers.command.refuse": "403", "handlers.command.fail": "500"}[m.Subject]
		if code != "" {
			reply.Header.Set("Nats-Service-Error", "no")
			reply.Header.Set("Nats-Service-Error-Code", code)
		}
		if err := nc.PublishMsg(reply); err != nil && b.t.Context().Err() == nil { // at the end, messages may be on their way
			b.t.Errorf("answer %s: %v", m.Subject, err)
		}
	})
	if err != nil {
		b.t.Fatal(err)
	}
}

// publishExpired stores a command that is too old when the worker starts.
func (b *bed) publishExpired() {
	b.t.Helper()
	b.publish("commands.ping", `{"event_id":"old","event_type":"interaction.create","community_id":"late","data":{"command_name":"ping"}}`)
	s, err := b.js.Stream(b.t.Context(), "COMMANDS")
	if err != nil {
		b.t.Fatal(err)
	}
	testserver.Eventually(b.t, "the command is too old", func() bool {
		info, err := s.Info(b.t.Context())
		return err == nil && info.TimeStamp.Sub(info.State.FirstTime) > commandTTL
	})
}

func (b *bed) publish(subject, body string) {
	b.t.Helper()
	if _, err := b.js.Publish(b.t.Context(), subject, []byte(body)); err != nil {
		b.t.Fatal(err)
	}
}

// post sends a message over HTTP. Any answer will do, and none while the worker starts.
func (b *bed) post(path, envelope string, headers ...string) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.t.Context(), testserver.Patience)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, b.ingress+path, strings.NewReader(envelope))
	if err != nil {
		b.t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		r.Header.Set(name, value)
	}
	resp, err := b.client.Do(r)
	if err != nil {
		return
	}
	_, _ = io.Copy(io.Discard, resp.Body) // so that the connection can be used again
	_ = resp.Body.Close()
}

func (b *bed) command(community, name string, headers ...string) {
	b.t.Helper()
	b.post("/v1/commands", fmt.Sprintf(`{"community_id":%q,"data":{"command_name":%q}}`, community, name), headers...)
}

// traffic sends messages of every kind, and of every end that they can have but expired.
func (b *bed) traffic() {
	b.t.Helper()
	b.sent++
	b.command("handled", "ping")
	b.command("handled", "refuse")
	b.command("failing", "fail")                                             // the sender waits, and is told 502
	b.command("failing", "fail", "Prefer: respond-async")                    // tried again, and then a dead letter
	b.command("known", "ping", fmt.Sprintf("Idempotency-Key: %d", b.sent/2)) // each twice
	for range 3 {
		b.command("limited", "ping") // free tier: ten a minute
		b.command("shadow", "ping")
		b.publish("commands.ping", "{") // malformed
	}
	check := `{"community_id":%q,"check_type":"single"}`
	b.post("/v1/eligibility/checks", fmt.Sprintf(check, "handled"))
	b.post("/v1/eligibility/checks", fmt.Sprintf(check, "delayed"), "Prefer: respond-async")
	b.post("/v1/eligibility/syncs", `{"community_id":"handled","check_type":"community_sync"}`)
	b.post("/v1/events", `{"community_id":"handled","event_type":"member.join"}`)
	b.interactions()
}

// interactions sends an interaction of Discord over HTTP, and one as a gateway does, which is answered by a call.
func (b *bed) interactions() {
	b.t.Helper()
	ping := fakediscord.Slash("ping")
	_, err := b.discord.Send(b.t.Context(), b.ingress+"/discord/interactions", ping)
	if rule := (*fakediscord.RuleError)(nil); err != nil && !errors.As(err, &rule) { // none answers while the worker starts
		b.t.Fatal(err)
	}
	issued := b.discord.Issue(ping)
	data := fmt.Sprintf(`{"command_name":"ping","interaction_id":%q,"interaction_token":%q,"interaction_type":"command","application_id":%q}`,
		issued.ID, issued.Token, b.discord.ApplicationID())
	b.publish("commands.interaction", fmt.Sprintf(
		`{"event_id":%q,"event_type":"interaction.create","community_id":"gateway","data":%s}`, issued.ID, data))
}

// TestMetricsExist: what rules, alerts and dashboard ask for exists. A worker handles messages of every kind and end, and
// Redis goes away and comes back, while a Prometheus scrapes it; then every selector has matched a series, every label
// exists, every rule can be evaluated, and every panel shows something.
func TestMetricsExist(t *testing.T) {
	b := startWorker(t)
	p := startPrometheus(t, b.ops)
	all := append(ruleQueries(t), dashboardQueries(t)...)

	b.redis.Refuse()
	testserver.Eventually(t, "the worker does without Redis", func() bool {
		b.traffic()
		return len(p.series(t, "arrakis_limiter_degraded_node")) > 0
	})
	b.redis.Accept()

	tick := time.NewTicker(time.Second) // Prometheus scrapes each second
	defer tick.Stop()
	var faults []string
	for deadline := time.Now().Add(2 * testserver.Patience); len(all) > 0 && time.Now().Before(deadline); <-tick.C {
		b.traffic()
		faults = nil
		all = slices.DeleteFunc(all, func(q query) bool {
			found := p.faults(t, &q)
			faults = append(faults, found...)
			return len(found) == 0
		})
	}
	if len(faults) > 0 {
		t.Errorf("after %v:\n%s", time.Since(p.began).Round(time.Second), lines(faults))
	}
	p.checkRules(t)
}

// faults says what is wrong with a query, as far as Prometheus has seen the worker.
func (p *prom) faults(t *testing.T, q *query) (faults []string) {
	t.Helper()
	for _, f := range p.missing(t, q) {
		faults = append(faults, q.where+": "+f)
	}
	expr := watched(q.parse(t))
	results, err := p.results(t, expr)
	switch {
	case err != nil:
		faults = append(faults, fmt.Sprintf("%s: %s: %v", q.where, expr, err))
	case len(results) == 0:
		faults = append(faults, fmt.Sprintf("%s: nothing from %s", q.where, expr))
	default:
		for _, name := range q.labels {
			if !label(results, name) {
				faults = append(faults, fmt.Sprintf("%s: no label %s in %s", q.where, name, expr))
			}
		}
	}
	return faults
}

// checkRules: Prometheus has evaluated each rule without an error.
func (p *prom) checkRules(t *testing.T) {
	t.Helper()
	result, err := p.Rules(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	evaluated := 0
	for _, group := range result.Groups {
		for _, r := range group.Rules {
			name, health, last := ruleState(r)
			if health != "ok" || last != "" {
				t.Errorf("%s: %s: %s", name, health, last)
			}
			evaluated++
		}
	}
	if want := len(ruleQueries(t)); evaluated != want {
		t.Errorf("%d rules evaluated, want %d", evaluated, want)
	}
}
