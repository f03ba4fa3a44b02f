package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/nats-io/nats.go"
	"github.com/redis/go-redis/v9"

	"arrakis/limiter"
	"arrakis/loadtest/testserver"
	"arrakis/pipeline/deadletter"
	"arrakis/pipeline/http/auth"
	"arrakis/pipeline/http/live"
	"arrakis/pipeline/lanes"
	"arrakis/shard"
	"arrakis/tenant/store"
)

// bodies are what the fuzzer starts from.
var bodies = []string{
	`{}`, `{"tier":"pro"}`, `{"tier":"gold"}`, `{"rateLimits":{"commandsPerMinute":-2}}`, `{"tier":null}`, `{"tear":"pro"}`,
	`{"id":"f1","enabled":true,"tiers":["free"],"communities":{"include":["c1"]},"rolloutPercent":1e1}`, `{"community":"c1"}`, `{"tier":"pro","account":"acme"}`, `{"tier":"pro","counted":"together","name":"é"}`,
	`{"tier":"pro","tier":"pro"}`, `{"a":{"b":[1,"\ud800"]}}`, "\xff", `[`, `"\u0000"`, `null`, ` `, ``,
}

// requests take a body. The fuzzer chooses one by its index.
var requests = [...]struct{ method, path string }{
	{http.MethodPut, "/v1/tenants/c1"},
	{http.MethodPatch, "/v1/tenants/c1"},
	{http.MethodPut, "/v1/flags/f1"},
	{http.MethodPut, "/v1/accounts/acme"},
	{http.MethodPatch, "/v1/accounts/acme"},
	{http.MethodPost, "/v1/reload"},
}

// FuzzBodies: no body makes the API panic or fail; what it takes it gives back in a form that it takes again. The
// documents are kept in a map: with a Redis the fuzzer would spend its time on the way there, and its coverage would
// differ from run to run.
func FuzzBodies(f *testing.F) {
	stored := keyspace{}
	h := storeHandler(f, stored.client(f))
	for _, body := range bodies {
		for i := range requests {
			f.Add(uint8(i), false, body)
			f.Add(uint8(i), true, body)
		}
	}
	f.Fuzz(func(t *testing.T, i uint8, exists bool, body string) {
		clear(stored)
		if exists {
			stored.fill()
		}
		request, body := requests[int(i)%len(requests)], body[:min(len(body), 4<<10)]
		switch w := send(t, h, request.method, request.path, body); w.Code {
		case http.StatusBadRequest, http.StatusRequestEntityTooLarge:
			if !strings.Contains(w.Body.String(), `"field":"`) {
				t.Errorf("%s %q names no field: %s", request, body, w.Body)
			}
		case http.StatusOK, http.StatusCreated:
			if request.method == http.MethodPost {
				return
			}
			got := send(t, h, http.MethodGet, request.path, "").Body.String()
			if w := send(t, h, http.MethodPut, request.path, got); w.Code != http.StatusOK {
				t.Errorf("after %s %q what GET gives is refused: %d %s", request, body, w.Code, w.Body)
			}
		default:
			t.Errorf("%s %q: %d %s", request, body, w.Code, w.Body)
		}
	})
}

// paths are all paths of the API and some that are not. %s is the fuzzer's.
var paths = [...]string{
	"/v1/tenants", "/v1/tenants/%s", "/v1/tenants/%s/usage", "/v1/tenants/c1/usage/%s", "/v1/flags", "/v1/flags/%s", "/v1/reload",
	"/v1/deadletters", "/v1/deadletters/%s/replay", "/v1/%s", "%s", "/v1/audit",
	"/v1/accounts", "/v1/accounts/%s", "/v1/accounts/%s/communities",
}

var methods = [...]string{http.MethodGet, http.MethodHead, http.MethodPut, http.MethodPatch, http.MethodPost, http.MethodDelete, "X"}

// FuzzRequests: whatever a request's path, query and headers are, the API neither panics nor fails, and answers with
// JSON. NATS is away, and Redis knows documents only, so that requests for anything else are answered 503.
func FuzzRequests(f *testing.F) {
	stored := keyspace{}
	h := storeHandler(f, stored.client(f))
	for i := range paths {
		for j := range methods {
			f.Add(uint8(i), uint8(j), "c1", "limit=2&cursor=x", "", "", "application/json")
		}
	}
	for _, query := range []string{
		"limit=0", "limit=99999999999999999999", "cursor=eyJzIjoxfQ", "cursor=%zz", "stream=COMMANDS&reason=panic", "community=c1", "community=a&community=b", "x=1", ";",
		"q=c1", "q=", "q=%3Cb%3E&limit=1&cursor=YQ", "target=c1&type=tenant&cursor=1-1", "type=x", "force=true", "force=x",
	} {
		for _, i := range []uint8{0, 4, 6, 7, 11, 12, 13, 14} {
			f.Add(i, uint8(0), "", query, "", "", "")
			f.Add(i, uint8(4), "", query, "", "", "")
		}
	}
	for _, id := range []string{"a b", "a%2Fb", "../..", "\x00", "é", "c1:command", strings.Repeat("x", 200), "18446744073709551616"} {
		for i := range paths {
			f.Add(uint8(i), uint8(5), id, "", `"0"`, "*", "text/plain")
		}
	}
	f.Fuzz(func(t *testing.T, i, j uint8, id, query, ifMatch, ifNoneMatch, media string) {
		if strings.ContainsFunc(query, unicode.IsControl) {
			return // net/http refuses such a request
		}
		clear(stored)
		stored.fill()
		path := strings.ReplaceAll(paths[int(i)%len(paths)], "%s", id[:min(len(id), 512)])
		r := (&http.Request{
			Method: methods[int(j)%len(methods)], URL: &url.URL{Path: path, RawQuery: query[:min(len(query), 512)]},
			Header: http.Header{"If-Match": {ifMatch}, "If-None-Match": {ifNoneMatch}, "Content-Type": {media}},
			Body:   io.NopCloser(strings.NewReader(`{"tier":"pro"}`)),
		}).WithContext(t.Context())
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code >= 500 && w.Code != http.StatusServiceUnavailable {
			t.Fatalf("%s %q ? %q: %d %s", r.Method, path, query, w.Code, w.Body)
		}
		for name, values := range w.Header() {
			if strings.ContainsAny(strings.Join(values, ""), "\r\n") {
				t.Fatalf("%s %q ? %q: the header %s is %q", r.Method, path, query, name, values)
			}
		}
		redirect := w.Code >= 300 && w.Code < 400 // a path such as //, by http.ServeMux
		if body := w.Body.Bytes(); len(body) > 0 && !redirect && !json.Valid(body) {
			t.Fatalf("%s %q ? %q: %d %s", r.Method, path, query, w.Code, body)
		}
	})
}

// TestKeyspace: the API answers from the map of FuzzBodies as it does from a Redis. A reload reads no document.
func TestKeyspace(t *testing.T) {
	stored := keyspace{}
	ours := storeHandler(t, stored.client(t))
	mini := testserver.Miniredis(t)
	mini.SetTime(keyspaceTime)
	rdb := redis.NewClient(&redis.Options{Addr: mini.Addr(), ContextTimeoutEnabled: true})
	t.Cleanup(func() { _ = rdb.Close() })
	theirs := storeHandler(t, rdb)
	for _, body := range bodies {
		for _, request := range requests[:5] {
			for _, method := range []string{request.method, http.MethodGet} {
				got, want := send(t, ours, method, request.path, body), send(t, theirs, method, request.path, body)
				if got.Code != want.Code || got.Body.String() != want.Body.String() {
					t.Errorf("%s %s %q: %d %s, want %d %s", method, request.path, body, got.Code, got.Body, want.Code, want.Body)
				}
			}
		}
	}
}

// storeHandler is the admin API over the tenants in rdb, without NATS.
func storeHandler(tb testing.TB, rdb redis.UniversalClient) http.Handler {
	tb.Helper()
	l, err := limiter.New(rdb, limiter.Options{})
	if err != nil {
		tb.Fatal(err)
	}
	// A connection that is not made, and is not tried again before the test has ended.
	nc, err := nats.Connect("nats://127.0.0.1:1", nats.RetryOnFailedConnect(true), nats.ReconnectWait(time.Hour))
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(nc.Close)
	tenants := store.New(rdb, store.Options{})
	h, err := Handler(Options{
		Limits:      &shard.Limits{Tenants: tenants, Limiter: l},
		Directory:   runDirectory(tb, tenants),
		DeadLetters: deadletter.New(testserver.JetStream(tb, nc)),
		Lanes:       func(context.Context, string) ([]lanes.Status, error) { return nil, nil },
		Live:        endedHub(),
	})
	if err != nil {
		tb.Fatal(err)
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := auth.WithGrant(r.Context(), auth.Admin, time.Time{})
		defer cancel()
		h.ServeHTTP(w, r.WithContext(ctx))
	})
}

// endedHub is a hub whose process shuts down: nothing waits for it.
func endedHub() *live.Hub {
	h := live.New(nil)
	ended, end := context.WithCancel(context.Background())
	end()
	h.Run(ended)
	return h
}

// send calls h without a connection.
func send(tb testing.TB, h http.Handler, method, path, body string) *httptest.ResponseRecorder {
	tb.Helper()
	r, err := http.NewRequestWithContext(tb.Context(), method, path, strings.NewReader(body))
	if err != nil {
		tb.Fatal(err)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

// keyspace answers, as a hook of a Redis client, the commands that the store sends to read and write a document: by
// key, or by key and field. One goroutine uses it at a time, so a transaction always succeeds; the change log, its
// events and the audit log go nowhere.
type keyspace map[string]string

// keyspaceTime is what TIME answers.
var keyspaceTime = time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)

// client is a Redis client that never connects.
func (k keyspace) client(tb testing.TB) *redis.Client {
	tb.Helper()
	rdb := redis.NewClient(&redis.Options{})
	tb.Cleanup(func() { _ = rdb.Close() })
	rdb.AddHook(k)
	return rdb
}

// fill stores a tenant and a flag, with members of other writers.
func (k keyspace) fill() {
	k["tenant:config:c1"] = `{"communityId":"c1","tier":"free","x":[1],"rateLimits":{"commandsPerMinute":5,"y":{}},"features":{"z":null}}`
	k["arrakis:flags f1"] = `{"id":"f1","enabled":true,"rolloutPercent":50,"x":[1]}`
}

func (keyspace) DialHook(redis.DialHook) redis.DialHook {
	return func(context.Context, string, string) (net.Conn, error) {
		return nil, errors.New("a keyspace is no server to connect to")
	}
}

func (k keyspace) ProcessHook(redis.ProcessHook) redis.ProcessHook {
	return func(_ context.Context, cmd redis.Cmder) error { return k.process(cmd) }
}

func (k keyspace) ProcessPipelineHook(redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(_ context.Context, cmds []redis.Cmder) error {
		var errs []error
		for _, cmd := range cmds {
			errs = append(errs, k.process(cmd))
		}
		return errors.Join(errs...)
	}
}

func (k keyspace) process(cmd redis.Cmder) error {
	arg := func(i int) string { return fmt.Sprint(cmd.Args()[i]) }
	switch name := cmd.Name(); name {
	case "get":
		return k.read(cmd, arg(1))
	case "hget":
		return k.read(cmd, arg(1)+" "+arg(2))
	case "set":
		k[arg(1)] = arg(2)
	case "del":
		delete(k, arg(1))
	case "hdel":
		delete(k, arg(1)+" "+arg(2))
	case "hset":
		k[arg(1)+" "+arg(2)] = arg(3)
	case "hlen":
		n := int64(0)
		for at := range k {
			if strings.HasPrefix(at, arg(1)+" ") {
				n++
			}
		}
		cmd.(*redis.IntCmd).SetVal(n)
	case "time":
		cmd.(*redis.TimeCmd).SetVal(keyspaceTime)
	case "watch", "unwatch", "multi", "exec", "eval", "xadd":
	default:
		err := errors.New("the keyspace has no command " + name)
		cmd.SetErr(err)
		return err
	}
	return nil
}

func (k keyspace) read(cmd redis.Cmder, at string) error {
	text, ok := k[at]
	if !ok {
		cmd.SetErr(redis.Nil)
		return redis.Nil
	}
	cmd.(*redis.StringCmd).SetVal(text)
	return nil
}
