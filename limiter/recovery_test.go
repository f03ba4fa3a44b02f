package limiter

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"arrakis/loadtest/testserver"
)

// network is a hook that makes a client's pipelines slow, or lets some of them fail.
type network struct {
	delay  time.Duration
	refuse atomic.Int64 // pipelines that fail before they reach Redis
	lose   atomic.Int64 // pipelines that Redis executes and whose answers are lost
}

func (*network) DialHook(next redis.DialHook) redis.DialHook          { return next }
func (*network) ProcessHook(next redis.ProcessHook) redis.ProcessHook { return next }

func (n *network) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	fail := func(cmds []redis.Cmder) error {
		err := &net.OpError{Op: "read", Err: errors.New("connection reset by peer")}
		for _, c := range cmds {
			c.SetErr(err)
		}
		return err
	}
	return func(ctx context.Context, cmds []redis.Cmder) error {
		if n.refuse.Add(-1) >= 0 {
			return fail(cmds)
		}
		if n.delay > 0 {
			<-time.After(n.delay)
		}
		err := next(ctx, cmds)
		if n.lose.Add(-1) >= 0 {
			return fail(cmds)
		}
		return err
	}
}

// onNetwork returns a limiter whose client goes through the hook.
func onNetwork(t *testing.T, addr string, o settings, n *network) *Limiter {
	t.Helper()
	rdb := testserver.ConnectRedis(t, addr)
	rdb.AddHook(n)
	return newLimiterOn(t, rdb, o, nil)
}

// TestF3OneFailedRoundTrip: a round trip that failed costs nothing. The limit is exact, also with what another process
// has used, and no verdict is degraded.
func TestF3OneFailedRoundTrip(t *testing.T) {
	t.Parallel()
	for name, fail := range map[string]func(*network){
		"before Redis": func(n *network) { n.refuse.Store(1) },
		"after Redis":  func(n *network) { n.lose.Store(1) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			testserver.BothRedises(t, func(t *testing.T, addr string) {
				n := new(network)
				l := onNetwork(t, addr, settings{}, n)
				other := newLimiter(t, addr, settings{}, nil)
				limit := Limit{Max: 10, Window: time.Hour}
				admitted := 0
				for batch := range 3 {
					ids := make([]string, 5)
					for i := range ids {
						ids[i] = fmt.Sprint(batch, "-", i)
					}
					asked := l
					if batch == 0 {
						asked = other
					} else {
						fail(n)
					}
					vs, err := asked.Allow(t.Context(), "k", limit, ids...)
					if err != nil {
						t.Fatal(err)
					}
					for _, v := range vs {
						if v.Degraded {
							t.Errorf("verdict %+v, want one of Redis", v)
						}
						if v.Allowed {
							admitted++
						}
					}
				}
				if got, _ := ask(t, l, "k", limit, "late"); got != "0" {
					t.Errorf("verdict %s when the window is full, want 0", got)
				}
				if admitted != 10 || l.Degraded() || members(t, addr) != 10 {
					t.Errorf("%d of 10 admitted, degraded %t, Redis holds %d", admitted, l.Degraded(), members(t, addr))
				}
			})
		})
	}
}

// TestF3Blip cuts a real connection for the length of a batch, which the policy then decides: the next one is exact.
func TestF3Blip(t *testing.T) {
	t.Parallel()
	testserver.BothRedises(t, func(t *testing.T, addr string) {
		for _, failures := range []int{1, 1000} { // Redis counts as away, or not
			p := testserver.Proxy(t, addr)
			o := settings{}
			o.health.Failures = failures
			l := newLimiter(t, p.Addr(), o, nil)
			limit := Limit{Max: 10, Window: time.Hour}
			key := fmt.Sprint("k", failures)
			w := NewWindow(key)
			admitted := 0
			batch := func(name string) (degraded bool) {
				reqs := make([]*Request, 7)
				for i := range reqs {
					reqs[i] = &Request{Window: w, Limit: limit, ID: fmt.Sprint(name, i)}
				}
				if err := l.AllowBatch(t.Context(), reqs); err != nil {
					t.Fatal(err)
				}
				for _, r := range reqs {
					degraded = degraded || r.Verdict.Degraded
					if r.Verdict.Allowed {
						admitted++
					}
				}
				return degraded
			}
			p.Refuse()
			if !batch("during") || admitted != 7 {
				t.Errorf("%d of 7 admitted without a connection", admitted)
			}
			p.Accept()
			l.health.Recover(t.Context())
			if batch("after") {
				t.Error("degraded although Redis answers")
			}
			if admitted != 10 || !l.fallback.idle() {
				t.Errorf("failures %d: %d of 10 admitted, %d unmerged", failures, admitted, l.fallback.unmerged.Load())
			}
		}
	})
}

// TestSharedKeyAfterOutage: several shards ask for one key at the same time after an outage. Each merges what waits
// before its own question.
func TestSharedKeyAfterOutage(t *testing.T) {
	t.Parallel()
	testserver.BothRedises(t, func(t *testing.T, addr string) {
		l := onNetwork(t, addr, settings{}, &network{delay: 2 * time.Millisecond})
		limit := Limit{Max: 2000, Window: time.Hour}
		lose(t, l)
		ids := make([]string, 1900)
		for i := range ids {
			ids[i] = fmt.Sprint("away-", i)
		}
		ask(t, l, "k", limit, ids...)
		l.health.Recover(t.Context())
		var admitted atomic.Int64
		var wg sync.WaitGroup
		for shard := range 8 {
			wg.Go(func() {
				ids := make([]string, 30)
				for i := range ids {
					ids[i] = fmt.Sprint(shard, "-", i)
				}
				vs, err := l.Allow(t.Context(), "k", limit, ids...)
				if err != nil {
					t.Error(err)
				}
				for _, v := range vs {
					if v.Allowed {
						admitted.Add(1)
					}
				}
			})
		}
		wg.Wait()
		if n := admitted.Load(); n != 100 || members(t, addr) != 2000 {
			t.Errorf("%d admitted and %d held, want the 100 that are left of 2000", n, members(t, addr))
		}
	})
}

// traffic is a process under load, and what it admitted.
type traffic struct {
	t     *testing.T
	l     *Limiter
	limit Limit
	keys  int

	asked    atomic.Int64
	answered atomic.Int64 // by Redis

	mu       sync.Mutex // protects the fields below
	admitted map[string][]string
	beyond   []string // admissions of keys that had all their permits when they were asked for
}

// shards is how many there are, each with a batch of so many messages.
const shards, shardBatch = 8, 50

// shard sends batches of shardBatch messages of any keys, 2,500 messages a second, until ctx ends.
func (tr *traffic) shard(ctx context.Context, name string) {
	windows := make([]*Window, tr.keys)
	for i := range windows {
		windows[i] = NewWindow(fmt.Sprint("c", i))
	}
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for i := 0; ctx.Err() == nil; i++ {
		batch := make([]*Request, shardBatch)
		for j := range batch {
			batch[j] = &Request{Window: windows[rand.N(tr.keys)], Limit: tr.limit, ID: fmt.Sprint(name, "-", i, "-", j)}
		}
		full := tr.full(batch)
		if err := tr.l.AllowBatch(context.Background(), batch); err != nil {
			tr.t.Error(err)
			return
		}
		tr.record(batch, full)
		<-tick.C
	}
}

// full reports for each message of a batch whether its key has all its permits now.
func (tr *traffic) full(batch []*Request) []bool {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	full := make([]bool, len(batch))
	for i, r := range batch {
		full[i] = int64(len(tr.admitted[r.Window.Key()])) >= tr.limit.Max
	}
	return full
}

// record notes the verdicts on a batch, and what was full before it was asked for.
func (tr *traffic) record(batch []*Request, full []bool) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	for i, r := range batch {
		tr.asked.Add(1)
		if !r.Verdict.Degraded {
			tr.answered.Add(1)
		}
		if !r.Verdict.Allowed {
			continue
		}
		tr.admitted[r.Window.Key()] = append(tr.admitted[r.Window.Key()], r.ID)
		if full[i] {
			tr.beyond = append(tr.beyond, r.ID)
		}
	}
}

// await waits for n more.
func (tr *traffic) await(what string, n int64, counter *atomic.Int64) {
	tr.t.Helper()
	from := counter.Load()
	testserver.Eventually(tr.t, what, func() bool { return counter.Load()-from >= n })
}

// TestF2ExactUnderLoad: with 20,000 messages a second, most of them admitted, and 5 ms to Redis, an outage ends
// although admissions go on, and what was admitted without Redis counts from the first answer on: at no time does a key
// that has all its permits get another one. A key can get over its limit only by questions that are on their way at the
// same time, some to Redis and some decided without it, as when Redis goes away.
func TestF2ExactUnderLoad(t *testing.T) {
	t.Parallel()
	s := testserver.Redis(t)
	p := testserver.Proxy(t, s.Addr())
	o := settings{Options: Options{MaxKeys: 100_000}}
	o.health.ProbeInterval = 50 * time.Millisecond
	l := onNetwork(t, p.Addr(), o, &network{delay: 5 * time.Millisecond})
	run(t, l)
	tr := &traffic{t: t, l: l, limit: Limit{Max: 6, Window: time.Hour}, keys: 5000, admitted: map[string][]string{}}
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for i := range shards {
		wg.Go(func() { tr.shard(ctx, fmt.Sprint("s", i)) })
	}
	tr.await("traffic", 5_000, &tr.asked)
	p.Refuse()
	testserver.Eventually(t, "Redis is away", l.Degraded)
	tr.await("traffic of the outage", 15_000, &tr.asked)
	p.Accept()
	testserver.Eventually(t, "Redis is used again under load", func() bool { return !l.Degraded() })
	tr.await("answers of Redis", 30_000, &tr.answered)
	cancel()
	wg.Wait()
	testserver.Eventually(t, "all is merged", l.fallback.idle)
	tr.check(s)
}

// check compares what was admitted with the limit and with the log of Redis.
func (tr *traffic) check(s *testserver.RedisServer) {
	tr.t.Helper()
	rdb := s.Client(tr.t)
	full, over := 0, 0
	for key, ids := range tr.admitted {
		switch n := int64(len(ids)); {
		case n > tr.limit.Max:
			over++
		case n == tr.limit.Max:
			full++
		}
		scores, err := rdb.ZMScore(tr.t.Context(), "ratelimit:"+key, ids...).Result()
		if err != nil {
			tr.t.Fatal(err)
		}
		for i, score := range scores {
			if score == 0 {
				tr.t.Fatalf("Redis does not know %s of %s, which was admitted", ids[i], key)
			}
		}
	}
	tr.t.Logf("%d messages, %d keys full of %d, %d over the limit", tr.asked.Load(), full, tr.keys, over)
	if n := len(tr.beyond); n > 0 {
		tr.t.Errorf("%d permits of keys that had all theirs, such as %s", n, tr.beyond[0])
	}
	if full < tr.keys/10 {
		tr.t.Errorf("%d keys are full, want many: the test shows nothing", full)
	}
}
