package attempts_test

import (
	"bytes"
	"context"
	"errors"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"

	"arrakis/limiter/redishealth"
	"arrakis/loadtest/testserver"
	"arrakis/pipeline/attempts"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const limit = 3

// bundle is a Store on a Redis, and the key of a message.
type bundle struct {
	*testing.T
	*attempts.Store
	rdb *redis.Client
	key string
}

func setup(t *testing.T, addr string) *bundle {
	t.Helper()
	rdb := redis.NewClient(&redis.Options{Addr: addr, ContextTimeoutEnabled: true})
	t.Cleanup(func() { _ = rdb.Close() })
	health, err := redishealth.New(rdb, redishealth.Options{Timeout: testserver.Patience})
	if err != nil {
		t.Fatal(err)
	}
	return &bundle{t, attempts.New(rdb, health), rdb, attempts.Key("COMMANDS", 7, time.UnixMilli(1700000000000))}
}

// begins begins the attempt of a delivery and compares the answer.
func (b *bundle) begins(delivery int, alone bool, want attempts.Earlier, wantBegins bool) {
	b.Helper()
	earlier, begins, err := b.Begin(b.Context(), b.key, attempts.Attempt{Delivery: strconv.Itoa(delivery), Limit: limit, Alone: alone})
	if err != nil {
		b.Fatal(err)
	}
	if earlier != want || begins != wantBegins {
		b.Fatalf("earlier %+v, begins %t; want %+v, %t", earlier, begins, want, wantBegins)
	}
}

func (b *bundle) ok(err error) {
	b.Helper()
	if err != nil {
		b.Fatal(err)
	}
}

func TestStore(t *testing.T) {
	testserver.BothRedises(t, func(t *testing.T, addr string) {
		t.Run("failures count", func(t *testing.T) {
			b := setup(t, addr)
			b.ok(b.Fail(t.Context(), b.key, "1"))
			b.begins(2, false, attempts.Earlier{Failed: 1}, true)
			b.ok(b.Fail(t.Context(), b.key, "2"))
			b.begins(3, false, attempts.Earlier{Failed: 2}, true)
			b.ok(b.Fail(t.Context(), b.key, "3"))
			b.begins(4, true, attempts.Earlier{Failed: 3}, false)
			b.begins(5, true, attempts.Earlier{Failed: 3}, false) // a refusal is not counted
			b.ok(b.Forget(t.Context(), b.key))
			b.begins(6, false, attempts.Earlier{}, true)
			b.ok(b.Forget(t.Context(), b.key))
		})
		t.Run("deaths count, and the suspect must be alone", func(t *testing.T) {
			b := setup(t, addr)
			b.begins(2, false, attempts.Earlier{}, true) // and the process dies
			b.begins(3, false, attempts.Earlier{Died: 1}, false)
			b.begins(3, true, attempts.Earlier{Died: 1}, true)
			b.begins(4, true, attempts.Earlier{Died: 2}, true)
			b.begins(5, true, attempts.Earlier{Died: 3}, false)
			b.ok(b.Forget(t.Context(), b.key))
		})
		t.Run("an interruption does not count", func(t *testing.T) {
			b := setup(t, addr)
			for delivery := range 2 * limit {
				b.begins(delivery, false, attempts.Earlier{}, true)
				if ttl := b.rdb.TTL(t.Context(), b.key).Val(); ttl <= 0 {
					t.Errorf("the record lives for %v, want a bound", ttl)
				}
				b.ok(b.Undo(t.Context(), b.key, strconv.Itoa(delivery)))
			}
		})
		// The message itself carries how many attempts have failed. Redis may have been away for some of them.
		t.Run("known attempts count once", func(t *testing.T) {
			b := setup(t, addr)
			ask := attempts.Attempt{Delivery: "RETRY:1:1", Limit: limit, Known: 2}
			for known, want := range map[int]attempts.Earlier{0: {Failed: 1}, 1: {Failed: 1}, 2: {Failed: 2}} {
				b.ok(b.Fail(t.Context(), b.key, "1"))
				ask.Known = known
				if earlier, begins, err := b.Begin(t.Context(), b.key, ask); earlier != want || !begins || err != nil {
					t.Errorf("%d known: earlier %+v, begins %t, %v; want %+v", known, earlier, begins, err, want)
				}
				b.ok(b.Forget(t.Context(), b.key))
			}
			ask.Known = limit
			if earlier, begins, err := b.Begin(t.Context(), b.key, ask); earlier.All() != limit || begins || err != nil {
				t.Errorf("all known: earlier %+v, begins %t, %v", earlier, begins, err)
			}
		})
		t.Run("nothing begins after a decision", func(t *testing.T) {
			b := setup(t, addr)
			b.ok(b.Fail(t.Context(), b.key, "1"))
			b.ok(b.Decide(t.Context(), b.key, "panic"))
			b.begins(2, true, attempts.Earlier{Failed: 1, Decision: "panic"}, false)
			b.ok(b.Forget(t.Context(), b.key))
		})
		// What was written down again, because an answer was lost, counted as an attempt of a worker that has died.
		t.Run("lost answers count once", func(t *testing.T) {
			b := setup(t, addr)
			for range 2 * limit {
				b.begins(2, false, attempts.Earlier{}, true)
			}
			for range 2 * limit {
				b.ok(b.Fail(t.Context(), b.key, "2"))
			}
			b.begins(3, false, attempts.Earlier{Failed: 1}, true)
			b.ok(b.Fail(t.Context(), b.key, "4")) // before its beginning
			b.begins(4, true, attempts.Earlier{Failed: 2, Died: 1}, false)
			b.ok(b.Undo(t.Context(), b.key, "3"))
			b.begins(4, false, attempts.Earlier{Failed: 2}, true)
			b.begins(5, false, attempts.Earlier{Failed: 2}, true)
			b.ok(b.Forget(t.Context(), b.key))
		})
	})
}

// trips is a client's hook that counts round trips, and holds them up while it is locked.
type trips struct {
	sync.Mutex
	n atomic.Int64
}

func (h *trips) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		if cmds[0].Name() == "client" {
			return next(ctx, cmds) // a new connection says what it is
		}
		h.n.Add(1)
		h.Lock()
		defer h.Unlock()
		return next(ctx, cmds)
	}
}

func (*trips) DialHook(next redis.DialHook) redis.DialHook          { return next }
func (*trips) ProcessHook(next redis.ProcessHook) redis.ProcessHook { return next }

// Handlers that fail together share round trips, and so do their next attempts when they begin together.
func TestCallersShareRoundTrips(t *testing.T) {
	t.Parallel()
	const callers = 100
	b := setup(t, testserver.Redis(t).Addr())
	h := &trips{}
	b.rdb.AddHook(h)
	// together makes all callers wait for one round trip, then lets it go. They gather there, however slow the machine is.
	together := func(method string, call func(key string) error) {
		t.Helper()
		h.Lock()
		before := h.n.Load()
		var errs [callers]error
		var all sync.WaitGroup
		for i := range errs {
			all.Go(func() { errs[i] = call(b.key + strconv.Itoa(i)) })
		}
		testserver.Eventually(t, "all wait in "+method, func() bool {
			stacks := make([]byte, 1<<20)
			return bytes.Count(stacks[:runtime.Stack(stacks, true)], []byte("attempts.(*Store)."+method+"(")) == callers
		})
		h.Unlock()
		all.Wait()
		b.ok(errors.Join(errs[:]...))
		if n := h.n.Load() - before; n > callers/10 {
			t.Errorf("%s: %d round trips for %d calls", method, n, callers)
		}
	}
	together("Fail", func(key string) error { return b.Fail(t.Context(), key, "1") })
	together("Begin", func(key string) error {
		earlier, begins, err := b.Begin(t.Context(), key, attempts.Attempt{Delivery: "2", Limit: limit})
		if earlier.Failed != 1 || !begins {
			t.Errorf("%s: earlier %+v, begins %t", key, earlier, begins)
		}
		return err
	})
}
