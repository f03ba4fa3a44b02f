package idempotency

import (
	"testing"
	"time"

	"arrakis/limiter/redishealth"
	"arrakis/loadtest/testserver"
)

// TestRedisAway: while Redis is away, a process knows what it has answered and what runs in it, so a repeated request
// runs nothing. What it has kept meanwhile is known to all when it is asked again.
func TestRedisAway(t *testing.T) {
	testserver.BothRedises(t, func(t *testing.T, addr string) {
		proxy := testserver.Proxy(t, addr)
		rdb := testserver.ConnectRedis(t, proxy.Addr())
		health, err := redishealth.New(rdb, redishealth.Options{Timeout: time.Second, ProbeInterval: time.Millisecond})
		if err != nil {
			t.Fatal(err)
		}
		s, other := start(t, rdb, Options{Health: health}), start(t, testserver.ConnectRedis(t, addr), Options{})
		k := func(id string) Key { return Key{"comm_001", "command", id} }
		<-begin(t, s, k("before"), first, MayRun).Mark.Keep(t.Context(), pong)
		runs := begin(t, s, k("runs"), first, MayRun).Mark

		proxy.Refuse()
		replayed(t, s, k("before"), first, pong)
		begin(t, s, k("before"), []byte("other"), Mismatch)
		begin(t, s, k("runs"), first, Running)
		<-runs.Keep(t.Context(), pong)
		replayed(t, s, k("runs"), first, pong)
		<-begin(t, s, k("during"), first, MayRun).Mark.Keep(t.Context(), pong)
		replayed(t, s, k("during"), first, pong)
		begin(t, s, k("during"), []byte("other"), Mismatch)
		<-begin(t, s, k("failed"), first, MayRun).Mark.Forget(t.Context())
		<-begin(t, s, k("failed"), first, MayRun).Mark.Forget(t.Context())
		if !health.Away() {
			t.Error("Redis does not count as away, so requests wait for it")
		}

		proxy.Accept()
		testserver.Eventually(t, "Redis is back", func() bool {
			health.Recover(t.Context())
			return !health.Away()
		})
		replayed(t, s, k("during"), first, pong)
		testserver.Eventually(t, "the answer is known to all", func() bool {
			b := other.Begin(t.Context(), k("during"), first)
			return b.Result == Replayed
		})
	})
}

// TestRedisAwayClosed: with Closed, what cannot be looked up is refused, and what the process knows is not.
func TestRedisAwayClosed(t *testing.T) {
	t.Parallel()
	m := testserver.Miniredis(t)
	rdb := testserver.ConnectRedis(t, m.Addr())
	health, err := redishealth.New(rdb, redishealth.Options{Failures: 1})
	if err != nil {
		t.Fatal(err)
	}
	s := start(t, rdb, Options{Health: health, Closed: true})
	<-begin(t, s, key, first, MayRun).Mark.Keep(t.Context(), pong)
	m.Close()
	unknown := Key{"comm_001", "command", "e2"}
	begin(t, s, unknown, first, Unavailable)
	begin(t, s, unknown, first, Unavailable)
	replayed(t, s, key, first, pong)
}

// TestRedisLosesItsData: a process that gave an answer gives it again, and stores it again.
func TestRedisLosesItsData(t *testing.T) {
	testserver.BothRedises(t, func(t *testing.T, addr string) {
		rdb := testserver.ConnectRedis(t, addr)
		s, other := start(t, rdb, Options{}), start(t, rdb, Options{})
		<-begin(t, s, key, first, MayRun).Mark.Keep(t.Context(), pong)
		if err := rdb.FlushAll(t.Context()).Err(); err != nil {
			t.Fatal(err)
		}
		replayed(t, s, key, first, pong)
		testserver.Eventually(t, "the answer is stored again", func() bool {
			return rdb.Get(t.Context(), recordKey(key.Community, key.member())).Val() == digest(first)+" "+pong.state(100)
		})
		replayed(t, other, key, first, pong)
	})
}

// TestUnusableKey: a key that another program wrote is as good as Redis being away, for this key.
func TestUnusableKey(t *testing.T) {
	testserver.BothRedises(t, func(t *testing.T, addr string) {
		rdb := testserver.ConnectRedis(t, addr)
		s := start(t, rdb, Options{})
		for id, set := range map[string]func(record string) error{
			"list":    func(record string) error { return rdb.LPush(t.Context(), record, "x").Err() },
			"garbage": func(record string) error { return rdb.Set(t.Context(), record, digest(first)+" garbage", 0).Err() },
			"status": func(record string) error {
				return rdb.Set(t.Context(), record, digest(first)+" answered 999 x", 0).Err()
			},
		} {
			k := Key{"comm_001", "command", id}
			if err := set(recordKey(k.Community, k.member())); err != nil {
				t.Fatal(err)
			}
			<-begin(t, s, k, first, MayRun).Mark.Keep(t.Context(), pong)
			replayed(t, s, k, first, pong) // by memory
		}
		if s.o.Health.Away() {
			t.Error("Redis counts as away because of a key")
		}
	})
}
