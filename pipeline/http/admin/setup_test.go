package admin

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/alicebob/miniredis/v2"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"

	"arrakis/limiter"
	"arrakis/limiter/redishealth"
	"arrakis/loadtest/testserver"
	"arrakis/pipeline/deadletter"
	"arrakis/pipeline/fleet"
	"arrakis/pipeline/http/auth"
	"arrakis/pipeline/http/live"
	"arrakis/pipeline/http/ops"
	"arrakis/pipeline/lanes"
	"arrakis/pipeline/streams"
	"arrakis/pipeline/view"
	"arrakis/shard"
	"arrakis/tenant/store"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(testserver.M{M: m}, testserver.NATSLeaks()...) }

// bed is the admin API on the ops address, with a Redis and a NATS of its own.
type bed struct {
	redis   redis.UniversalClient
	mini    *miniredis.Miniredis // nil on another Redis
	store   *store.Store
	limits  *shard.Limits
	nats    *testserver.NATSServer
	js      jetstream.JetStream
	hub     *live.Hub
	stopHub func() // may be called again
	log     testserver.Output
	url     string
}

const token = "s3cret"

// tokenOf is a token that gives one scope.
func tokenOf(s auth.Scope) string { return "s3cret-of-" + string(s) }

func newBed(tb testing.TB) *bed {
	tb.Helper()
	mini := testserver.Miniredis(tb)
	rdb := redis.NewClient(&redis.Options{Addr: mini.Addr(), ContextTimeoutEnabled: true, DialerRetries: 1})
	tb.Cleanup(func() { _ = rdb.Close() })
	b := newBedOn(tb, rdb)
	b.mini = mini
	return b
}

func newBedOn(tb testing.TB, rdb redis.UniversalClient) *bed {
	tb.Helper()
	b := &bed{redis: rdb, store: store.New(rdb, store.Options{Source: "test"})}
	l, err := limiter.New(rdb, limiter.Options{})
	if err != nil {
		tb.Fatal(err)
	}
	b.limits = &shard.Limits{Tenants: b.store, Limiter: l}
	b.nats = testserver.NATS(tb)
	b.js = testserver.JetStream(tb, b.nats.Connect(tb))
	err = streams.Ensure(tb.Context(), b.js, nil, streams.Options{Storage: jetstream.MemoryStorage}, slog.New(slog.DiscardHandler))
	if err != nil {
		tb.Fatal(err)
	}
	h, err := Handler(Options{
		Limits: b.limits, Directory: runDirectory(tb, b.store), DeadLetters: deadletter.New(b.js),
		Lanes: func(ctx context.Context, community string) ([]lanes.Status, error) {
			return lanes.Look(ctx, b.js, rdb, l.Health(), community)
		},
		Live: b.newHub(tb, rdb, l.Health()), Logger: slog.New(slog.NewTextHandler(io.MultiWriter(tb.Output(), &b.log), nil)),
	})
	if err != nil {
		tb.Fatal(err)
	}
	access := auth.NewAccess(false)
	if err := access.Add(auth.Admin, token); err != nil {
		tb.Fatal(err)
	}
	for _, s := range auth.Scopes {
		if err := access.Add(auth.Grant{Name: "only-" + string(s), Scopes: []auth.Scope{s}}, tokenOf(s)); err != nil {
			tb.Fatal(err)
		}
	}
	h, err = ops.Handler(ops.Options{Health: ops.NewHealth(nil), Admin: h, Access: access})
	if err != nil {
		tb.Fatal(err)
	}
	ts := httptest.NewServer(h)
	tb.Cleanup(ts.Close)
	b.url = ts.URL
	return b
}

// runDirectory runs a directory of the store's tenants until the test ends.
func runDirectory(tb testing.TB, s *store.Store) *store.Directory {
	tb.Helper()
	d := store.NewDirectory(s)
	ctx, cancel := context.WithCancel(tb.Context())
	var wg sync.WaitGroup
	wg.Go(func() { _ = d.Run(ctx) }) // it returns nil
	tb.Cleanup(func() { cancel(); wg.Wait() })
	return d
}

// newHub makes a hub that watches the fleet until the test ends.
func (b *bed) newHub(tb testing.TB, rdb redis.UniversalClient, health *redishealth.Health) *live.Hub {
	tb.Helper()
	b.hub = live.New(func(ctx context.Context, each func(*view.Fleet)) {
		w := fleet.NewWatcher(fleet.WatcherOptions{JetStream: b.js, Redis: rdb, Health: health, Logger: slog.New(slog.DiscardHandler)})
		if err := w.Run(ctx, func(s *fleet.State) { each(view.NewFleet(s)) }); err != nil {
			tb.Error(err)
		}
	})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); b.hub.Run(ctx) }()
	b.stopHub = func() { cancel(); <-done }
	tb.Cleanup(b.stopHub)
	return b.hub
}

// response is an answer, read to its end.
type response struct {
	status int
	header http.Header
	body   string
}

// client keeps no connection after a test, which would be a leak.
var client = &http.Client{
	Transport:     &http.Transport{DisableKeepAlives: true},
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
}

// do sends a request with the token and with headers given as name, value pairs. It may be called by any goroutine.
func (b *bed) do(tb testing.TB, method, path, body string, headers ...string) response {
	tb.Helper()
	r, err := http.NewRequestWithContext(tb.Context(), method, b.url+path, strings.NewReader(body))
	if err != nil {
		tb.Error(err)
		return response{}
	}
	r.Header.Set("Authorization", "Bearer "+token)
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	resp, err := client.Do(r)
	if err != nil {
		tb.Error(err)
		return response{}
	}
	defer resp.Body.Close() //nolint:errcheck // only read
	got, err := io.ReadAll(resp.Body)
	if err != nil {
		tb.Error(err)
	}
	return response{resp.StatusCode, resp.Header, string(got)}
}

// want fails the test unless r has the status; it returns r.
func (r response) want(tb testing.TB, status int) response {
	tb.Helper()
	if r.status != status {
		tb.Fatalf("status %d, want %d: %s", r.status, status, r.body)
	}
	return r
}

// decode reads the body into p, by Go's own JSON.
func (r response) decode(tb testing.TB, p any) {
	tb.Helper()
	if err := json.Unmarshal([]byte(r.body), p); err != nil {
		tb.Fatalf("%v in %s", err, r.body)
	}
}

// problem is what tests read of a problem document.
type problemText struct {
	Type, Field, Detail string
	Status              int
	Errors              []struct{ Field, Detail string }
}

func (r response) problem(tb testing.TB) problemText {
	tb.Helper()
	if got := r.header.Get("Content-Type"); got != "application/problem+json" {
		tb.Errorf("Content-Type %q, want a problem: %s", got, r.body)
	}
	var p problemText
	r.decode(tb, &p)
	if p.Status != r.status || p.Detail == "" {
		tb.Errorf("status %d: %+v", r.status, p)
	}
	return p
}
