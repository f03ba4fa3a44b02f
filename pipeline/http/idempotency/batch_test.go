package idempotency

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"arrakis/limiter/redishealth"
	"arrakis/loadtest/testserver"
)

// TestSharedRoundTrips: what gathers while Redis answers makes one round trip.
func TestSharedRoundTrips(t *testing.T) {
	testserver.BothRedises(t, func(t *testing.T, addr string) {
		proxy := testserver.Proxy(t, addr)
		s := start(t, testserver.ConnectRedis(t, proxy.Addr()), Options{})
		<-begin(t, s, key, first, MayRun).Mark.Forget(t.Context()) // Redis knows the scripts
		proxy.Stall()
		const requests = maxBatch
		var wg sync.WaitGroup
		ask := func(i int) {
			wg.Go(func() {
				if b := s.Begin(t.Context(), Key{"comm_001", "command", fmt.Sprint(i)}, first); b.Result != MayRun {
					t.Errorf("request %d: %s", i, resultNames[b.Result])
				}
			})
		}
		ask(0)
		testserver.Eventually(t, "the first asks", func() bool { return runs(s) == 1 && s.calls.Len() == 0 })
		before := roundTrips(t, s)
		for i := range requests {
			ask(i + 1)
		}
		testserver.Eventually(t, "the others wait", func() bool { return s.calls.Len() == requests })
		proxy.Resume()
		wg.Wait()
		if n := roundTrips(t, s) - before; n != 2 {
			t.Errorf("%d requests took %d round trips, want one for the first and one for the others", requests+1, n)
		}
	})
}

// runs is how many requests run in a process.
func runs(s *Store) int {
	s.memory.mu.Lock()
	defer s.memory.mu.Unlock()
	return len(s.memory.running)
}

// TestAfterRun: when the process ends, nobody waits for ever.
func TestAfterRun(t *testing.T) {
	t.Parallel()
	rdb := testserver.ConnectRedis(t, testserver.Miniredis(t).Addr())
	s, err := New(rdb, Options{Health: start(t, rdb, Options{}).o.Health})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	s.Run(ctx)
	<-begin(t, s, key, first, MayRun).Mark.Keep(t.Context(), pong)
	replayed(t, s, key, first, pong)
}

// TestEndsWhileRedisStalls: at its end Run waits for the round trip under way, but asks a Redis that does not answer no
// further time.
func TestEndsWhileRedisStalls(t *testing.T) {
	t.Parallel()
	proxy := testserver.Proxy(t, testserver.Miniredis(t).Addr())
	rdb := testserver.ConnectRedis(t, proxy.Addr())
	health, err := redishealth.New(rdb, redishealth.Options{Timeout: 2 * time.Second, Failures: 10})
	if err != nil {
		t.Fatal(err)
	}
	s, err := New(rdb, Options{Health: health})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var ending sync.WaitGroup
	ending.Go(func() { s.Run(ctx) })
	proxy.Stall()
	ending.Go(func() {
		if b := s.Begin(ctx, key, first); b.Result != MayRun {
			t.Errorf("%s, want as if Redis were away", resultNames[b.Result])
		}
	})
	testserver.Eventually(t, "the request asks", func() bool { return runs(s) == 1 && s.calls.Len() == 0 })
	cancel()
	ending.Wait()
	if n := roundTrips(t, s); n != 1 {
		t.Errorf("%d round trips, want 1", n)
	}
}

// TestClosedWhileFull: calls that wait for room when Run ends are answered once, and those that found room as well.
func TestClosedWhileFull(t *testing.T) {
	rdb := redis.NewClient(&redis.Options{Addr: "127.0.0.1:1"}) // nobody listens
	t.Cleanup(func() { _ = rdb.Close() })
	health, err := redishealth.New(rdb, redishealth.Options{Timeout: testserver.Patience})
	if err != nil {
		t.Fatal(err)
	}
	s, err := New(rdb, Options{Health: health})
	if err != nil {
		t.Fatal(err)
	}
	for range maxQueued - 1 {
		s.put(t.Context(), newCall(putScript, "k"))
	}
	keep, index := newCall(putScript, "k"), newCall(putScript, "k")
	var putting sync.WaitGroup
	putting.Go(func() { s.put(t.Context(), keep, index) })
	testserver.Eventually(t, "one of two calls has found room", func() bool { return s.calls.Len() == maxQueued })
	s.calls.Close()
	putting.Wait()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	s.Run(ctx)
	<-keep.ended
	<-index.ended
	if keep.err == nil || index.err == nil {
		t.Errorf("errors %v and %v, want one for both calls", keep.err, index.err)
	}
}
