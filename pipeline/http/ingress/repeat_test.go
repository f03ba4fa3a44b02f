package ingress

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/redis/go-redis/v9"

	"arrakis/limiter/redishealth"
	"arrakis/loadtest/testserver"
	"arrakis/pipeline/contract"
	"arrakis/pipeline/http/idempotency"
	"arrakis/pipeline/http/requestid"
)

// remembering makes a bed's ingress remember event IDs in the Redis at addr.
func remembering(t *testing.T, rdb redis.UniversalClient) func(*Options) {
	t.Helper()
	return func(o *Options) {
		health, err := redishealth.New(rdb, redishealth.Options{Failures: 1, Timeout: testserver.Patience})
		if err != nil {
			t.Fatal(err)
		}
		if o.Idempotency, err = idempotency.New(rdb, idempotency.Options{Health: health}); err != nil {
			t.Fatal(err)
		}
	}
}

// beside starts another ingress beside b's, on the same servers.
func (b *bed) beside(t *testing.T, change func(*Options)) *bed {
	t.Helper()
	o := Options{NATS: connect(t, b.server), Wait: 10 * time.Second}
	change(&o)
	in, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	other := &bed{server: b.server, worker: b.worker, js: b.js, in: in}
	other.run(t)
	other.serve(t, in.Server(in.Handler()))
	return other
}

// counted counts the messages that a worker handles. Each outcome differs.
func (b *bed) counted(t *testing.T) *atomic.Int64 {
	t.Helper()
	var n atomic.Int64
	b.work(t, func(jetstream.Msg) []byte { return fmt.Appendf(nil, `{"status":"ok","result":%d}`, n.Add(1)) })
	return &n
}

// TestF6OneKeyManyBodies guards against F6: an event ID is good for one body.
func TestF6OneKeyManyBodies(t *testing.T) {
	testserver.BothRedises(t, func(t *testing.T, addr string) {
		b := newBed(t, remembering(t, testserver.ConnectRedis(t, addr)))
		handled := b.counted(t)
		for i := range 40 {
			want := http.StatusUnprocessableEntity
			if i == 0 {
				want = http.StatusOK
			}
			body := fmt.Sprintf(`{"guild_id":"g","data":{"n":%d}}`, i)
			r := b.post(t, "/v1/commands", body, "Idempotency-Key", "k", "X-Request-Id", "r1")
			if r.code != want {
				t.Errorf("body %d: %d %s, want %d", i, r.code, r.body, want)
			}
			if i == 1 {
				checkGolden(t, "422-reused", r)
			}
		}
		if n := handled.Load(); n != 1 {
			t.Errorf("%d bodies under one event ID were handled", n)
		}
	})
}

// TestF6OneBodyManyTimes guards against F6: of requests that are repeated at the same time, by two processes, one runs,
// and all get its answer.
func TestF6OneBodyManyTimes(t *testing.T) {
	testserver.BothRedises(t, func(t *testing.T, addr string) {
		rdb := testserver.ConnectRedis(t, addr)
		b := newBed(t, remembering(t, rdb))
		beds := []*bed{b, b.beside(t, remembering(t, rdb))}
		handled := b.counted(t)
		var ran atomic.Int64
		var wg sync.WaitGroup
		for i := range 40 {
			wg.Go(func() {
				testserver.Eventually(t, "the request is answered", func() bool {
					r := beds[i%2].post(t, "/v1/commands", good)
					if r.code == http.StatusConflict && r.header.Get("Retry-After") == "2" {
						return false // as it runs
					}
					if r.code != http.StatusOK || r.body != `{"status":"ok","result":1}`+"\n" {
						t.Errorf("%d %s", r.code, r.body)
					}
					if r.header.Get("Idempotent-Replayed") != "true" {
						ran.Add(1)
					}
					return true
				})
			})
		}
		wg.Wait()
		if handled.Load() != 1 || ran.Load() != 1 {
			t.Errorf("handled %d times, %d answers are not marked as replayed", handled.Load(), ran.Load())
		}
	})
}

// TestRemembered says which answers are given again, and which requests may be tried again.
func TestRemembered(t *testing.T) {
	tests := []struct {
		name, path, outcome string
		headers             []string
		code                int
		again               bool // it runs again
		free                bool // it was not charged, so that another body may run
	}{
		{name: "200", outcome: `{"status":"ok","rate_limit":{"action":"command","limit":10,"remaining":9,"reset_ms":36001,"retry_after_ms":0}}`, code: 200},
		{name: "202 async", headers: []string{"Prefer", "respond-async"}, code: 202},
		{name: "202 sync", path: "/v1/eligibility/syncs", code: 202},
		{name: "202 event", path: "/v1/events", code: 202},
		{name: "a handler's 404", outcome: failed(404, "no"), code: 404},
		{name: "a handler's 409", outcome: failed(409, "no"), code: 409},
		{name: "a handler's 429", outcome: failed(429, "no"), code: 429, again: true},
		{name: "a handler's 408", outcome: failed(408, "no"), code: 408, again: true},
		{name: "over the limit", outcome: `{"status":"rate_limited",` + limited + `}`, code: 429, again: true, free: true},
		{name: "expired", outcome: `{"status":"expired"}`, code: 410, again: true, free: true},
		{name: "failed", outcome: failed(500, "no"), code: 502, again: true},
		{name: "limits away", outcome: failed(503, "no"), code: 503, again: true, free: true},
		{name: "overloaded", outcome: `{"status":"error","error":{"code":503,"message":"no","retry_after_ms":3001}}`, code: 503, again: true, free: true},
		{name: "odd", outcome: `{"status":"odd"}`, code: 502, again: true, free: true},
	}
	rdb := testserver.ConnectRedis(t, testserver.Miniredis(t).Addr())
	b := newBed(t, remembering(t, rdb))
	other := b.beside(t, remembering(t, rdb))
	var outcome atomic.Value
	b.work(t, func(jetstream.Msg) []byte { return []byte(outcome.Load().(string)) })
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			before := b.published(t)
			outcome.Store(tt.outcome)
			path := orElse(tt.path, "/v1/commands")
			body := fmt.Sprintf(`{"event_id":%q,"community_id":"c","check_type":"x","event_type":"x"}`, strings.ReplaceAll(tt.name, " ", "-"))
			first := b.post(t, path, body, tt.headers...)
			second := other.post(t, path, body, tt.headers...)
			if first.code != tt.code || second.code != tt.code {
				t.Fatalf("%d and then %d %s, want %d", first.code, second.code, second.body, tt.code)
			}
			if first.header.Get(replayedHeader) != "" || (second.header.Get(replayedHeader) == "true") == tt.again {
				t.Errorf("replayed: %q and then %q", first.header.Get(replayedHeader), second.header.Get(replayedHeader))
			}
			want := map[bool]uint64{false: 1, true: 2}[tt.again]
			if n := b.published(t) - before; n != want {
				t.Errorf("stored %d times, want %d", n, want)
			}
			if !tt.again {
				checkSame(t, first, second)
			}
			// F6: an event ID that holds a permit is good for one body.
			wantOther := http.StatusUnprocessableEntity
			if tt.free {
				wantOther = tt.code
			}
			if r := b.post(t, path, " "+body, tt.headers...); r.code != wantOther {
				t.Errorf("another body: %d %s, want %d", r.code, r.body, wantOther)
			}
		})
	}
}

// TestF6RunIsNamed guards against F6: what the ingress knows to have failed may use its permit again, and nothing else.
func TestF6RunIsNamed(t *testing.T) {
	b := newBed(t, remembering(t, testserver.ConnectRedis(t, testserver.Miniredis(t).Addr())))
	runs := make(chan string, 3)
	b.work(t, func(m jetstream.Msg) []byte {
		runs <- m.Headers().Get(contract.HeaderRun)
		return []byte(`{"status":"error","error":{"code":500,"message":"no"}}`)
	})
	for range 2 {
		b.post(t, "/v1/commands", good)
	}
	b.post(t, "/v1/commands", `{"guild_id":"g"}`) // an event ID that the ingress makes up
	if first, again, madeUp := <-runs, <-runs, <-runs; first == "" || again != "" || madeUp != "" {
		t.Errorf("runs %q, %q and %q, want the first named", first, again, madeUp)
	}
}

// published is how many messages have ever been stored.
func (b *bed) published(t *testing.T) (n uint64) {
	t.Helper()
	for _, name := range []string{contract.StreamCommands, contract.StreamEvents, contract.StreamEligibility} {
		s, err := b.js.Stream(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		n += s.CachedInfo().State.LastSeq
	}
	return n
}

// checkSame checks that an answer is that of the first request.
func checkSame(t *testing.T, first, again response) {
	t.Helper()
	if again.body != first.body {
		t.Errorf("first %s\nagain %s", first.body, again.body)
	}
	for _, name := range []string{"Content-Type", "Preference-Applied", "Cache-Control"} {
		if again.header.Get(name) != first.header.Get(name) {
			t.Errorf("%s: first %q, again %q", name, first.header.Get(name), again.header.Get(name))
		}
	}
	for _, name := range []string{"RateLimit", "RateLimit-Policy"} {
		if v := again.header.Get(name); v != "" {
			t.Errorf("%s: %q is of the first request, and may be wrong by now", name, v)
		}
	}
}

// TestStillRunning: a request that is repeated while it runs is told to come back.
func TestStillRunning(t *testing.T) {
	rdb := testserver.ConnectRedis(t, testserver.Miniredis(t).Addr())
	b := newBed(t, remembering(t, rdb))
	other := b.beside(t, remembering(t, rdb))
	held := b.hold(t.Context(), t)
	for _, b := range []*bed{b, other} {
		checkGolden(t, "409-running", b.post(t, "/v1/commands", good, "X-Request-Id", "r1"))
	}
	b.work(t, always(`{"status":"ok"}`))
	if r := <-held; r.code != http.StatusOK {
		t.Fatalf("%d %s", r.code, r.body)
	}
	checkGolden(t, "200-replayed", other.post(t, "/v1/commands", good, "X-Request-Id", "r1"))
}

// TestLeavingClient: a client that leaves and repeats its request gets the answer of the first one.
func TestLeavingClient(t *testing.T) {
	t.Parallel()
	b := newBed(t, func(o *Options) {
		remembering(t, testserver.ConnectRedis(t, testserver.Miniredis(t).Addr()))(o)
		o.Wait = 5 * time.Second // the ingress waits that long, also for a client that has left
	})
	ctx, leave := context.WithCancel(t.Context())
	held := b.hold(ctx, t)
	leave()
	if r, ok := <-held; ok {
		t.Fatalf("answered %d", r.code)
	}
	if r := b.post(t, "/v1/commands", good); r.code != http.StatusConflict {
		t.Errorf("while it runs: %d %s", r.code, r.body)
	}
	testserver.Eventually(t, "it is noticed that the client has left", func() bool {
		return counter(t, b, "arrakis_ingress_client_gone_total") == 1
	})
	handled := b.counted(t)
	testserver.Eventually(t, "the answer is there", func() bool { return b.post(t, "/v1/commands", good).code == http.StatusOK })
	if n := handled.Load(); n != 1 {
		t.Errorf("handled %d times", n)
	}
}

// TestF6MadeUpEventID guards against F6: an event ID that the ingress made up is no permit for a second message.
func TestF6MadeUpEventID(t *testing.T) {
	b := newBed(t, nil)
	b.work(t, echo)
	r := b.post(t, "/v1/commands", `{"guild_id":"g"}`)
	var o struct {
		Result struct {
			EventID string `json:"event_id"`
		} `json:"result"`
	}
	if err := json.Unmarshal([]byte(r.body), &o); err != nil || o.Result.EventID == "" {
		t.Fatalf("%v in %s", err, r.body)
	}
	id := o.Result.EventID
	for field, again := range map[string]response{
		"Idempotency-Key": b.post(t, "/v1/commands", `{"guild_id":"g"}`, "Idempotency-Key", id),
		"event_id":        b.post(t, "/v1/commands", fmt.Sprintf(`{"event_id":%q,"guild_id":"g"}`, id)),
	} {
		if p := problemOf(t, again); again.code != http.StatusUnprocessableEntity || p.Field != field {
			t.Errorf("%s: %d %s", field, again.code, again.body)
		}
	}
	for _, other := range []string{requestid.New(), "00000000-0000-8000-8000-000000000000", id[:35] + "g", strings.ToUpper(id), id + "0"} {
		if madeEventID(other) && other != id {
			t.Errorf("%s counts as made up", other)
		}
	}
}

// TestTooLargeToKeep: an answer that is too large to be kept is told from one that is missing.
func TestTooLargeToKeep(t *testing.T) {
	b := newBed(t, remembering(t, testserver.ConnectRedis(t, testserver.Miniredis(t).Addr())))
	b.work(t, func(jetstream.Msg) []byte {
		return bytes.Replace([]byte(`{"status":"ok","result":"x"}`), []byte("x"), bytes.Repeat([]byte("x"), 64<<10), 1)
	})
	if r := b.post(t, "/v1/commands", good); r.code != http.StatusOK {
		t.Fatalf("%d %s", r.code, r.body)
	}
	checkGolden(t, "409-not-kept", b.post(t, "/v1/commands", good, "X-Request-Id", "r1"))
}

// TestRedisKilled: with Redis away a request runs once in each process, and a request without an event ID does not
// notice.
func TestRedisKilled(t *testing.T) {
	server := testserver.Redis(t)
	b := newBed(t, remembering(t, testserver.ConnectRedis(t, server.Addr())))
	handled := b.counted(t)
	before := strings.ReplaceAll(good, "e1", "before")
	b.post(t, "/v1/commands", before)
	server.Kill()
	for _, body := range []string{before, good} {
		first, again := b.post(t, "/v1/commands", body), b.post(t, "/v1/commands", body)
		if first.code != http.StatusOK || again.code != http.StatusOK || again.body != first.body || again.header.Get(replayedHeader) == "" {
			t.Errorf("%d %s\n%d %s", first.code, first.body, again.code, again.body)
		}
		if r := b.post(t, "/v1/commands", body+" "); r.code != http.StatusUnprocessableEntity {
			t.Errorf("another body: %d %s", r.code, r.body)
		}
	}
	if n := handled.Load(); n != 2 {
		t.Errorf("handled %d times, want each of 2 requests once", n)
	}
	if r := b.post(t, "/v1/commands", `{"guild_id":"g"}`); r.code != http.StatusOK {
		t.Errorf("without an event ID: %d %s", r.code, r.body)
	}
}
