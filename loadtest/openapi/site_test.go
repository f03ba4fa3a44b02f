package openapi

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/nats-io/nats.go"
	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"

	"arrakis/loadtest/testserver"
	"arrakis/loadtest/testserver/fakediscord"
	"arrakis/pipeline"
	served "arrakis/pipeline/http/openapi"
	"arrakis/pipeline/worker"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(testserver.M{M: m}, testserver.NATSLeaks()...) }

// The tokens of a site.
const ingressToken, adminToken, viewToken = "ingress-token", "admin-token", "view-token"

// site is a running worker, with its servers and the document that describes it.
type site struct {
	*document
	t            *testing.T
	ingress, ops string // URLs
	nats         *testserver.NATSServer
	nc           *nats.Conn
	redis        *miniredis.Miniredis
	rdb          *redis.Client
	discord      *fakediscord.Server // whose key signs what is sent to /discord/
	client       *http.Client
	begun        chan struct{} // gets an item when the command slow has begun
	slow         chan struct{} // closed to let the command slow end
	seen         map[string]bool
}

// newSite runs a worker until the test ends.
func newSite(t *testing.T, change func(*worker.Options)) *site {
	t.Helper()
	n, mini := testserver.NATS(t), testserver.Miniredis(t)
	s := &site{
		document: newDocument(t), t: t, discord: fakediscord.New(fakediscord.Options{}), client: newClient(), begun: make(chan struct{}, 1), slow: make(chan struct{}), seen: map[string]bool{},
		nats: n, nc: n.Connect(t), redis: mini, rdb: testserver.ConnectRedis(t, mini.Addr()),
	}
	o := worker.Options{
		NATS: s.nc, Redis: s.rdb, HTTP: listen(t), Ops: listen(t), Handlers: s.handlers(), MaxAttempts: 1,
		IngressTokens: []string{ingressToken}, AdminTokens: []string{adminToken}, ViewTokens: []string{viewToken},
		Discord: worker.DiscordOptions{PublicKeys: s.discord.PublicKeys()},
	}
	if change != nil {
		change(&o)
	}
	s.ingress, s.ops = "http://"+o.HTTP.Addr().String(), "http://"+o.Ops.Addr().String()
	w, err := worker.New(o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	if err := w.AwaitReady(t.Context()); err != nil {
		t.Fatal(err)
	}
	return s
}

// newClient makes a client that keeps no connection and follows nothing.
func newClient() *http.Client {
	return &http.Client{
		Transport:     &http.Transport{DisableKeepAlives: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

func listen(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// handlers handle commands by name, and everything else.
func (s *site) handlers() *pipeline.Handlers {
	h := pipeline.NewHandlers()
	result := func(result any, err error) pipeline.Handler {
		return func(context.Context, *pipeline.Message) (any, error) { return result, err }
	}
	for name, handler := range map[string]pipeline.Handler{
		"ping": result("pong", nil), "echo": result(map[string]any{"text": "hello", "list": []int{1}}, nil), "nothing": result(nil, nil),
		"refuses": result(nil, pipeline.Permanent(http.StatusForbidden, "not for you")),
		"fails":   result(nil, errors.New("it is broken")),
		"large":   result(strings.Repeat("x", 70_000), nil),
		"slow": func(ctx context.Context, _ *pipeline.Message) (any, error) {
			s.begun <- struct{}{}
			select {
			case <-s.slow:
			case <-ctx.Done():
			}
			return "done", nil
		},
	} {
		h.Command(name, handler)
	}
	for _, name := range []string{"single", "community_sync"} {
		h.Eligibility(name, result(true, nil))
		h.Sync(name, result(nil, nil))
	}
	h.Event("member.join", result(nil, nil))
	return h
}

// request is one request and what it is to be answered.
type request struct {
	method, path string // the path with its query
	body         string
	header       []string // names and values; "" removes one
	status       int
	// disagrees says that the document finds nothing wrong with a request that is answered 400: what is wrong is said in
	// words alone.
	disagrees bool
}

// ask sends a request to the address that the document names for its path, and compares request and answer with the
// document.
func (s *site) ask(q request) (http.Header, string) {
	s.t.Helper()
	base, token := s.ops, adminToken
	if strings.HasPrefix(q.path, "/discord/") || strings.HasPrefix(q.path, "/v1/commands") || strings.HasPrefix(q.path, "/v1/eligibility") || strings.HasPrefix(q.path, "/v1/events") {
		base, token = s.ingress, ingressToken
	}
	return s.askAt(base, token, q)
}

func (s *site) askAt(base, token string, q request) (http.Header, string) {
	s.t.Helper()
	r := s.request(base, token, q)
	about := q.method + " " + q.path + " " + q.body[:min(len(q.body), 200)]
	resp, err := s.client.Do(r)
	if err != nil {
		s.t.Fatal(err)
	}
	defer resp.Body.Close() //nolint:errcheck // only read
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	if resp.StatusCode != q.status {
		s.t.Errorf("%s: %s, want %d: %s", about, resp.Status, q.status, body)
		return resp.Header, string(body)
	}
	s.compare(about, r, resp, body)
	if q.status >= 300 && q.status != http.StatusBadRequest { // it is refused for something else than its form
		return resp.Header, string(body)
	}
	ok, errs := s.requests.ValidateHttpRequestSync(s.request(base, token, q))
	if refused := q.status == http.StatusBadRequest; ok == refused != q.disagrees {
		s.t.Errorf("%s: is answered %d, but to the document it is valid: %v%s", about, q.status, ok, reasons(errs))
	}
	return resp.Header, string(body)
}

// compare compares an answer with the document.
func (s *site) compare(about string, r *http.Request, resp *http.Response, body []byte) {
	s.t.Helper()
	checked := *resp
	checked.Body = io.NopCloser(bytes.NewReader(body))
	v := s.responses
	if r.URL.Path == served.Path { // its members are not described
		v = s.requests
	}
	if ok, errs := v.ValidateHttpResponse(r, &checked); !ok {
		s.t.Errorf("%s: %s is not as described:%s\n%v\n%s", about, resp.Status, reasons(errs), resp.Header, body)
	}
	s.see(r, resp.StatusCode)
}

func (s *site) request(base, token string, q request) *http.Request {
	s.t.Helper()
	r, err := http.NewRequestWithContext(s.t.Context(), q.method, base+q.path, strings.NewReader(q.body))
	if err != nil {
		s.t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+token)
	if q.body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	if strings.HasPrefix(q.path, "/discord/") {
		s.discord.Sign(r.Header, []byte(q.body), time.Now())
	}
	for i := 0; i < len(q.header); i += 2 {
		switch name, value := q.header[i], q.header[i+1]; {
		case value == "":
			r.Header.Del(name)
		case name == "Host":
			r.Host = value
		default:
			r.Header.Set(name, value)
		}
	}
	return r
}
