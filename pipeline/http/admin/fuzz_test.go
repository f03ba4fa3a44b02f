package admin

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/redis/go-redis/v9"

	"arrakis/limiter"
	"arrakis/loadtest/testserver"
	"arrakis/pipeline/deadletter"
	"arrakis/shard"
	"arrakis/tenant/store"
)

// bodies are what the fuzzer starts from.
var bodies = []string{
	`{}`, `{"tier":"pro"}`, `{"tier":"gold"}`, `{"rateLimits":{"commandsPerMinute":-2}}`, `{"tier":null}`, `{"tear":"pro"}`,
	`{"id":"f1","enabled":true,"tiers":["free"],"communities":{"include":["c1"]},"rolloutPercent":1e1}`, `{"community":"c1"}`,
	`{"tier":"pro","tier":"pro"}`, `{"a":{"b":[1,"\ud800"]}}`, "\xff", `[`, `"\u0000"`, `null`, ` `, ``,
}

// requests take a body. The fuzzer chooses one by its index.
var requests = [...]struct{ method, path string }{
	{http.MethodPut, "/v1/tenants/c1"},
	{http.MethodPatch, "/v1/tenants/c1"},
	{http.MethodPut, "/v1/flags/f1"},
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
		for _, request := range requests[:3] {
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
	var js jetstream.JetStream // not reached by requests
	h, err := Handler(Options{
		Limits:      &shard.Limits{Tenants: store.New(rdb, store.Options{}), Limiter: l},
		DeadLetters: deadletter.New(js),
	})
	if err != nil {
		tb.Fatal(err)
	}
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
// key, or by key and field. One goroutine uses it at a time, so a transaction always succeeds; the change log and its
// events go nowhere.
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
	case "watch", "unwatch", "multi", "exec", "eval":
	default:
		panic("the keyspace has no command " + name)
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
