package openapi

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"arrakis/loadtest/testserver"
	"arrakis/pipeline/contract"
	"arrakis/pipeline/http/ingress"
	"arrakis/pipeline/worker"
	"arrakis/tenant/record"
	"arrakis/tenant/store"
)

// Without Redis, without NATS, and while it drains, a worker answers as the document says.
func TestAway(t *testing.T) {
	s := newSite(t, nil)
	s.redis.Close()
	s.ask(request{method: "GET", path: "/readyz", status: 200}) // degraded
	for _, q := range []request{
		{method: "GET", path: "/v1/tenants"},
		{method: "GET", path: "/v1/tenants/comm_1"},
		{method: "PUT", path: "/v1/tenants/comm_1", body: `{"tier":"pro"}`},
		{method: "PATCH", path: "/v1/tenants/comm_1", body: `{}`},
		{method: "DELETE", path: "/v1/tenants/comm_1"},
		{method: "DELETE", path: "/v1/tenants/comm_1/usage"},
		{method: "GET", path: "/v1/tenants/comm_1/explain"},
		{method: "GET", path: "/v1/accounts"},
		{method: "GET", path: "/v1/accounts/a"},
		{method: "PUT", path: "/v1/accounts/a", body: `{"tier":"pro"}`},
		{method: "DELETE", path: "/v1/accounts/a"},
		{method: "GET", path: "/v1/accounts/a/communities"},
		{method: "GET", path: "/v1/flags"},
		{method: "GET", path: "/v1/flags/a"},
		{method: "PUT", path: "/v1/flags/a", body: `{}`},
		{method: "DELETE", path: "/v1/flags/a"},
		{method: "POST", path: "/v1/reload"},
		{method: "GET", path: "/v1/audit"},
	} {
		q.status = http.StatusServiceUnavailable
		s.ask(q)
	}
	if err := s.redis.Restart(); err != nil {
		t.Fatal(err)
	}

	s.nats.Stop()
	testserver.Eventually(t, "the worker knows that NATS is away", func() bool { return !s.nc.IsConnected() })
	for _, q := range []request{
		{method: "GET", path: "/v1/deadletters"},
		{method: "GET", path: "/v1/deadletters/1"},
		{method: "DELETE", path: "/v1/deadletters/1"},
		{method: "POST", path: "/v1/deadletters/1/replay"},
		{method: "POST", path: "/v1/deadletters/purge", body: `{"filter":{}}`},
		{method: "POST", path: "/v1/commands", body: `{"community_id":"c"}`},
		{method: "POST", path: "/v1/events", body: `{"community_id":"c","event_type":"a"}`},
		{method: "GET", path: "/readyz"},
	} {
		q.status = http.StatusServiceUnavailable
		if q.path != "/readyz" {
			s.ask(q)
			continue
		}
		testserver.Eventually(t, "it says so", func() bool {
			status, _, _ := s.probe(s.ops, q.method, q.path)
			return status == q.status
		})
		s.ask(q)
	}
	s.nats.Start()
	testserver.Eventually(t, "NATS is back", s.nc.IsConnected)
}

// While PostgreSQL is away, and where Redis has the copies of another database, a worker answers as the document says.
func TestPostgresIsAway(t *testing.T) {
	server := testserver.Postgres(t, "fsync=off")
	db, err := record.Open(t.Context(), record.Options{URL: server.URL()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(db.Close)
	s := newSite(t, func(o *worker.Options) { o.Record = db })
	testserver.Eventually(t, "documents can be changed", func() bool {
		_, err := db.Read(t.Context(), store.Name{Kind: store.KindTiers})
		return err == nil
	})
	s.ask(request{method: "PUT", path: "/v1/tenants/comm_1", body: `{"tier":"pro"}`, status: 201}) // with a number as its ETag
	s.ask(request{method: "GET", path: "/v1/tenants/comm_1", status: 200})
	s.ask(request{method: "GET", path: "/v1/audit", status: 200})
	server.Kill()
	for _, q := range append(changes, request{method: "GET", path: "/v1/audit"}) {
		q.status = http.StatusServiceUnavailable
		if _, text := s.ask(q); !strings.Contains(text, "postgres-away") {
			t.Errorf("%s %s: %s", q.method, q.path, text)
		}
	}
	s.ask(request{method: "GET", path: "/v1/tenants/comm_1", status: 200}) // what is in force
	s.ask(request{method: "GET", path: "/readyz", status: 200})            // degraded
	server.Start()
	testserver.Eventually(t, "PostgreSQL is back", func() bool { return db.Check(t.Context()) == nil })

	if err := s.redis.Set(store.RecordKey, "another"); err != nil {
		t.Fatal(err)
	}
	testserver.Eventually(t, "the worker has seen it", func() bool { return db.Check(t.Context()) != nil })
	for _, q := range changes {
		q.status = http.StatusServiceUnavailable
		if _, text := s.ask(q); !strings.Contains(text, "kept-elsewhere") {
			t.Errorf("%s %s: %s", q.method, q.path, text)
		}
	}
}

// changes are requests that change a document.
var changes = []request{
	{method: "PUT", path: "/v1/tenants/comm_1", body: `{"tier":"pro"}`},
	{method: "PATCH", path: "/v1/tenants/comm_1", body: `{}`},
	{method: "DELETE", path: "/v1/tenants/comm_1"},
	{method: "POST", path: "/v1/tenants/comm_1/boost", body: `{"rateLimits":{"commandsPerMinute":1},"for":"1h"}`},
	{method: "DELETE", path: "/v1/tenants/comm_1/boost"},
	{method: "PUT", path: "/v1/flags/a", body: `{}`},
	{method: "DELETE", path: "/v1/flags/a"},
}

// Without tokens everybody on a loopback address is an admin, and the ingress asks for no token.
func TestWithoutTokens(t *testing.T) {
	s := newSite(t, func(o *worker.Options) { o.IngressTokens, o.AdminTokens, o.ViewTokens = nil, nil, nil })
	none := []string{"Authorization", ""}
	s.ask(request{method: "POST", path: "/v1/commands", body: `{"community_id":"c","data":{"command_name":"ping"}}`, status: 200, header: none})
	s.ask(request{method: "PUT", path: "/v1/tenants/c", body: `{"tier":"pro"}`, status: 201, header: none})
	s.ask(request{method: "GET", path: "/v1/fleet", status: 200, header: none})
}

// Outcomes that a worker gives only under load, or when it is of another version, are answered as the document says.
func TestOutcomes(t *testing.T) {
	outcomes := map[string]struct {
		outcome string
		status  int
	}{
		"expired":     {`"status":"expired"`, http.StatusGone},
		"overloaded":  {`"status":"error","error":{"code":503,"message":"There is too much work.","retry_after_ms":1500}`, http.StatusServiceUnavailable},
		"unchecked":   {`"status":"error","error":{"code":503,"message":"Redis is away."}`, http.StatusServiceUnavailable},
		"strange":     {`"status":"unheard-of"`, http.StatusBadGateway},
		"unlimited":   {`"status":"ok","result":{"a":[1]},"rate_limit":{"action":"command","limit":-1,"remaining":-1,"reset_ms":0,"retry_after_ms":0}`, http.StatusOK},
		"no-limit":    {`"status":"rate_limited","rate_limit":{"action":"user_command","limit":0,"remaining":0,"reset_ms":0,"retry_after_ms":60000}`, http.StatusTooManyRequests},
		"refuses-429": {`"status":"error","error":{"code":429,"message":"Not so fast."}`, http.StatusTooManyRequests},
		"refuses-401": {`"status":"error","error":{"code":401,"message":"Who are you?"}`, http.StatusUnauthorized},
		"refuses-451": {`"status":"error","error":{"code":451,"message":"Not here."}`, http.StatusUnavailableForLegalReasons},
	}
	n := testserver.NATS(t)
	nc := n.Connect(t)
	_, err := testserver.JetStream(t, nc).CreateStream(t.Context(), jetstream.StreamConfig{Name: contract.StreamCommands, Subjects: []string{"commands.>"}})
	if err != nil {
		t.Fatal(err)
	}
	sub, err := nc.Subscribe("commands.>", func(m *nats.Msg) {
		e, err := contract.Decode(contract.KindCommand, m.Data)
		if err != nil {
			t.Error(err)
			return
		}
		if o := outcomes[e.Command].outcome; o != "" {
			answer := `{"event_id":"` + e.EventID + `","community_id":"` + e.TenantKey + `","tier":"free",` + o + `}`
			if err := nc.Publish(m.Header.Get(contract.HeaderReplyTo), []byte(answer)); err != nil {
				t.Error(err)
			}
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = sub.Unsubscribe() }) // the connection ends too
	s := &site{document: newDocument(t), t: t, client: newClient(), seen: map[string]bool{}}
	url := serveIngress(t, nc, time.Minute)
	for command, tt := range outcomes {
		body := `{"community_id":"c","data":{"command_name":"` + command + `"}}`
		_, text := s.askAt(url, "", request{method: "POST", path: "/v1/commands", body: body, status: tt.status})
		if strings.HasPrefix(command, "refuses") && !strings.Contains(text, "refused-by-handler") {
			t.Errorf("%s: %s", command, text)
		}
	}

	// Nobody answers this one. It is 503 where the message was not stored within that time.
	url = serveIngress(t, nc, 50*time.Millisecond)
	testserver.Eventually(t, "a message is stored, and its outcome does not come in time", func() bool {
		r := s.request(url, "", request{method: "POST", path: "/v1/commands", body: `{"community_id":"c","data":{"command_name":"nobody"}}`})
		resp, err := s.client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close() //nolint:errcheck // only read
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		s.compare("nobody", r, resp, body)
		return resp.StatusCode == http.StatusGatewayTimeout
	})
}

// serveIngress serves an ingress that waits for outcomes for as long, and returns its URL when it takes requests.
func serveIngress(t *testing.T, nc *nats.Conn, wait time.Duration) string {
	t.Helper()
	in, err := ingress.New(ingress.Options{NATS: nc, Wait: wait})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(in.Handler())
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- in.Run(ctx) }()
	t.Cleanup(func() {
		server.Close()
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	client := newClient()
	testserver.Eventually(t, "the ingress takes requests", func() bool {
		resp, err := client.Post(server.URL+"/v1/commands", "application/json", strings.NewReader("{")) //nolint:noctx // the server is this test's
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close() // of no interest
		return resp.StatusCode == http.StatusBadRequest
	})
	return server.URL
}
