package idempotency

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"

	"arrakis/limiter/redishealth"
	"arrakis/loadtest/testserver"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(testserver.M{M: m}) }

// start runs a store, which stands for a process.
func start(t *testing.T, rdb redis.UniversalClient, o Options) *Store {
	t.Helper()
	if o.Health == nil {
		var err error
		if o.Health, err = redishealth.New(rdb, redishealth.Options{Timeout: testserver.Patience}); err != nil {
			t.Fatal(err)
		}
	}
	s, err := New(rdb, o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { s.Run(ctx) })
	t.Cleanup(func() { cancel(); running.Wait() })
	return s
}

var (
	key   = Key{Community: "comm_001", Route: "command", EventID: "e1"}
	pong  = Answer{Status: 200, Body: []byte(`{"status":"ok"}`)}
	first = []byte("first")
)

// begin asks for a request, and checks what was found.
func begin(t *testing.T, s *Store, k Key, message []byte, want Result) Begun {
	t.Helper()
	b := s.Begin(t.Context(), k, message)
	if b.Result != want || (b.Mark != nil) != (want == MayRun) {
		t.Fatalf("%v %q: %s, mark %v, want %s", k, message, resultNames[b.Result], b.Mark != nil, resultNames[want])
	}
	return b
}

// replayed checks that a request was answered.
func replayed(t *testing.T, s *Store, k Key, message []byte, want Answer) {
	t.Helper()
	b := begin(t, s, k, message, Replayed)
	if diff := cmp.Diff(want, b.Answer); diff != "" {
		t.Errorf("replayed (-want +got)\n%s", diff)
	}
}

// TestOneRequest follows one event ID through two processes.
func TestOneRequest(t *testing.T) {
	testserver.EveryRedis(t, func(t *testing.T, rdb redis.UniversalClient) {
		a, b := start(t, rdb, Options{}), start(t, rdb, Options{})
		other := []byte("other")
		mark := begin(t, a, key, first, MayRun).Mark
		for _, s := range []*Store{a, b} {
			begin(t, s, key, first, Running)
			begin(t, s, key, other, Mismatch)
		}
		<-mark.Forget(t.Context())
		mark = begin(t, b, key, other, MayRun).Mark // another body, because nothing is kept of what failed
		begin(t, a, key, other, Running)
		<-mark.Keep(t.Context(), pong)
		for _, s := range []*Store{a, b} {
			replayed(t, s, key, other, pong)
			begin(t, s, key, first, Mismatch)
		}
		for _, k := range []Key{{"comm_002", "command", "e1"}, {"comm_001", "event", "e1"}, {"comm_001", "command", "e2"}} {
			mark := begin(t, a, k, other, MayRun).Mark
			<-mark.Forget(t.Context())
		}
	})
}

// F6: what failed may be tried again, but no other message under its event ID, which would not be charged. That holds in
// other processes, and in the one where it failed also while Redis knows nothing.
func TestF6OtherMessageAfterFailure(t *testing.T) {
	testserver.EveryRedis(t, func(t *testing.T, rdb redis.UniversalClient) {
		k := Key{Community: "comm_failed", Route: "command", EventID: "e1"}
		a, b := start(t, rdb, Options{}), start(t, rdb, Options{})
		<-begin(t, a, k, first, MayRun).Mark.Fail(t.Context())
		for _, s := range []*Store{a, b} {
			begin(t, s, k, []byte("other"), Mismatch)
			mark := begin(t, s, k, first, MayRun).Mark
			begin(t, s, k, first, Running)
			<-mark.Fail(t.Context())
		}
		if err := rdb.Del(t.Context(), recordKey(k.Community, k.member())).Err(); err != nil {
			t.Fatal(err)
		}
		begin(t, a, k, []byte("other"), Mismatch)
		<-begin(t, a, k, first, MayRun).Mark.Keep(t.Context(), pong)
		replayed(t, b, k, first, pong)
	})
}

// TestOneOfManyRuns: of many requests at the same time, in two processes, one runs.
func TestOneOfManyRuns(t *testing.T) {
	testserver.BothRedises(t, func(t *testing.T, addr string) {
		rdb := testserver.ConnectRedis(t, addr)
		stores := []*Store{start(t, rdb, Options{}), start(t, rdb, Options{})}
		for i := range 20 {
			k := Key{"comm_001", "command", fmt.Sprint(i)}
			begun := make(chan Begun, 40)
			var wg sync.WaitGroup
			for j := range cap(begun) {
				wg.Go(func() { begun <- stores[j%2].Begin(t.Context(), k, first) })
			}
			wg.Wait()
			close(begun)
			var mark *Mark
			for b := range begun {
				switch {
				case b.Result == MayRun && mark == nil:
					mark = b.Mark
				case b.Result != Running:
					t.Fatalf("a second request is %s", resultNames[b.Result])
				}
			}
			<-mark.Keep(t.Context(), pong)
			replayed(t, stores[0], k, first, pong)
			replayed(t, stores[1], k, first, pong)
		}
	})
}

// TestF6RepeatedAtTheSameTime guards against F6: whoever repeats an answered request gets its answer, also while others
// repeat it, with the same message or with another one.
func TestF6RepeatedAtTheSameTime(t *testing.T) {
	testserver.BothRedises(t, func(t *testing.T, addr string) {
		s := start(t, testserver.ConnectRedis(t, addr), Options{})
		<-begin(t, s, key, first, MayRun).Mark.Keep(t.Context(), pong)
		other := []byte("other")
		for range 20 {
			var wg sync.WaitGroup
			for range 10 {
				wg.Go(func() {
					if b := s.Begin(t.Context(), key, first); b.Result != Replayed || !bytes.Equal(b.Answer.Body, pong.Body) {
						t.Errorf("repeated: %s %q, want the answer", resultNames[b.Result], b.Answer.Body)
					}
				})
				wg.Go(func() {
					if b := s.Begin(t.Context(), key, other); b.Result != Mismatch {
						t.Errorf("another message: %s, want a mismatch", resultNames[b.Result])
					}
				})
			}
			wg.Wait()
		}
	})
}

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

// TestInvariantBoundedAnswers checks I6 and I4: a community's answers are bounded by their size, the newest are known,
// and other communities lose none.
func TestInvariantBoundedAnswers(t *testing.T) {
	testserver.EveryRedis(t, func(t *testing.T, rdb redis.UniversalClient) {
		s, reader := start(t, rdb, Options{MaxPerCommunity: 20}), start(t, rdb, Options{MaxPerCommunity: 20})
		large := Answer{Status: 200, Body: []byte(strings.Repeat("x", 3000))} // 3 KiB
		keep := func(community string, i int) {
			k := Key{community, "command", fmt.Sprint(i)}
			<-begin(t, s, k, first, MayRun).Mark.Keep(t.Context(), large)
		}
		keep("quiet", 0)
		const busy = 50
		for i := range busy {
			keep("busy", i)
		}
		keep("quiet", 1) // its calls take the last deletions along
		for community, want := range map[string]int{"busy": 20 / 3, "quiet": 2} {
			n, err := rdb.ZCard(t.Context(), indexPrefix+community).Result()
			if err != nil || n > 20 {
				t.Errorf("%s: the index has %d entries, %v", community, n, err)
			}
			records := 0
			for i := range busy {
				k := Key{community, "command", fmt.Sprint(i)}
				records += int(rdb.Exists(t.Context(), recordKey(community, k.member())).Val())
			}
			if records != want {
				t.Errorf("%s: %d answers are kept, want %d", community, records, want)
			}
		}
		replayed(t, reader, Key{"busy", "command", fmt.Sprint(busy - 1)}, first, large)
		replayed(t, reader, Key{"quiet", "command", "0"}, first, large)
	})
}

// TestTooLargeAnswer: a large answer is not kept, but the request does not run again.
func TestTooLargeAnswer(t *testing.T) {
	testserver.BothRedises(t, func(t *testing.T, addr string) {
		s := start(t, testserver.ConnectRedis(t, addr), Options{MaxAnswer: 10})
		<-begin(t, s, key, first, MayRun).Mark.Keep(t.Context(), pong)
		replayed(t, s, key, first, Answer{Status: 200, TooLarge: true})
	})
}

// TestProcessDies: the mark of a process that died expires after its lease, and not before.
func TestProcessDies(t *testing.T) {
	m := testserver.Miniredis(t)
	rdb := testserver.ConnectRedis(t, m.Addr())
	s := start(t, rdb, Options{})
	begin(t, start(t, rdb, Options{}), key, first, MayRun) // and is never heard of again; no time passes for miniredis by itself
	m.FastForward(59 * time.Second)
	begin(t, s, key, first, Running)
	m.FastForward(2 * time.Second)
	begin(t, s, key, first, MayRun)
}

// TestDrop: a request that is dropped counts as running until its mark expires, also in its own process.
func TestDrop(t *testing.T) {
	m := testserver.Miniredis(t)
	s := start(t, testserver.ConnectRedis(t, m.Addr()), Options{})
	begin(t, s, key, first, MayRun).Mark.Drop()
	begin(t, s, key, first, Running)
	m.FastForward(time.Minute + time.Second)
	<-begin(t, s, key, first, MayRun).Mark.Keep(t.Context(), pong)
}

// TestRenewed: while a request runs, its mark does not expire.
func TestRenewed(t *testing.T) {
	m := testserver.Miniredis(t)
	rdb := testserver.ConnectRedis(t, m.Addr())
	s, other := start(t, rdb, Options{Lease: time.Second}), start(t, rdb, Options{})
	mark := begin(t, s, key, first, MayRun).Mark
	for range 3 {
		m.FastForward(900 * time.Millisecond)
		testserver.Eventually(t, "the mark is renewed", func() bool { return m.TTL(mark.record) == time.Second })
	}
	begin(t, other, key, first, Running)
	<-mark.Forget(t.Context())
	for _, late := range s.memory.due(time.Now().Add(time.Hour), time.Now()) {
		t.Errorf("%s is renewed, although it has ended", late.record)
	}
	// A renewal that comes too late does not bring the mark back.
	c := newCall(putScript, mark.record, mark.value(), putRenew, 60_000)
	s.put(t.Context(), c)
	<-c.ended
	if m.Exists(mark.record) {
		t.Error("a late renewal has brought a mark back")
	}
	<-begin(t, other, key, first, MayRun).Mark.Forget(t.Context())
}

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

// TestMemoryIsBounded checks I6: the newest answers are in memory, up to a size.
func TestMemoryIsBounded(t *testing.T) {
	t.Parallel()
	m := newMemory(10 * (overhead + 100))
	now := time.Now()
	state := strings.Repeat("x", 100)
	for i := range 100 {
		m.keep(fmt.Sprint(i), remembered{fingerprint: "f", state: state, until: now.Add(time.Hour)})
		m.keep(fmt.Sprint(i), remembered{fingerprint: "f", state: state, until: now.Add(time.Hour)})
	}
	if m.bytes > m.maxBytes || m.bytes != m.answers.Len()*(overhead+100) || m.answers.Len() != 10 {
		t.Errorf("%d answers of %d bytes, want 10 of %d", m.answers.Len(), m.bytes, m.maxBytes)
	}
	if _, ok := m.answer("99", now); !ok {
		t.Error("the newest answer is forgotten")
	}
	if _, ok := m.answer("99", now.Add(2*time.Hour)); ok {
		t.Error("an answer is remembered for longer than it is kept")
	}
	m.keep("huge", remembered{state: strings.Repeat("x", 10_000)})
	if m.bytes != 0 || m.answers.Len() != 0 {
		t.Errorf("%d answers of %d bytes after one that is larger than the memory", m.answers.Len(), m.bytes)
	}
}

// TestKeys: no community's name and no event ID makes two keys equal.
func TestKeys(t *testing.T) {
	t.Parallel()
	seen := map[string]Key{}
	hostile := Key{"a", "command", "x"}
	for _, k := range []Key{
		hostile,
		{"a", "event", "x"},
		{"a", "command", "X"},
		{"a:command:" + digest([]byte("x")), "command", "x"},
		{"-keys:a", "command", "x"},
		{"keys:a:" + hostile.member(), "command", "x"},
	} {
		for _, redisKey := range []string{recordKey(k.Community, k.member()), k.index()} {
			if other, ok := seen[redisKey]; ok && (redisKey != k.index() || redisKey != other.index()) {
				t.Errorf("%v and %v are both %s", k, other, redisKey)
			}
			seen[redisKey] = k
		}
	}
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

func TestOptions(t *testing.T) {
	t.Parallel()
	_, err := New(nil, Options{Keep: -2, Lease: -1, MaxAnswer: -1, MaxPerCommunity: -1, MemoryBytes: -1})
	if err == nil {
		t.Fatal("New took bad options")
	}
	for _, field := range []string{"client", "Health", "Keep", "Lease", "MaxAnswer", "MaxPerCommunity", "MemoryBytes"} {
		if !strings.Contains(err.Error(), field+" ") {
			t.Errorf("the error does not name %s: %v", field, err)
		}
	}
}

// TestClosedWhileFull: calls that wait for room when Run ends are answered once, and those that found room as well.
func TestClosedWhileFull(t *testing.T) {
	rdb := redis.NewClient(&redis.Options{Addr: "127.0.0.1:1"}) // nobody listens
	t.Cleanup(func() { _ = rdb.Close() })
	health, err := redishealth.New(rdb, redishealth.Options{})
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
