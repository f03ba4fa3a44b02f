package redisscript

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"

	"arrakis/limiter/redishealth"
	"arrakis/loadtest/testserver"
)

func TestMain(m *testing.M) {
	// A closed client's pool that could not connect ends this goroutine within a second.
	goleak.VerifyTestMain(testserver.M{M: m}, goleak.IgnoreAnyFunction("github.com/redis/go-redis/v9/internal/pool.(*ConnPool).tryDial"))
}

var (
	add     = New(`return redis.call('INCRBY', KEYS[1], ARGV[1])`)
	both    = New(`return {ARGV[1], ARGV[2]}`)
	nothing = New(`return nil`)
)

// process runs calls, as a process does.
type process struct {
	t      *testing.T
	rdb    redis.UniversalClient
	health *redishealth.Health
	trips  trips
}

func newProcess(t *testing.T, rdb redis.UniversalClient) *process {
	t.Helper()
	health, err := redishealth.New(rdb, redishealth.Options{Timeout: testserver.Patience, Failures: 1})
	if err != nil {
		t.Fatal(err)
	}
	p := &process{t: t, rdb: rdb, health: health}
	rdb.AddHook(&p.trips)
	return p
}

// run runs the calls and compares the commands that were sent, a line for each round trip.
func (p *process) run(calls []*Call, want ...string) {
	p.t.Helper()
	if err := Run(p.t.Context(), p.rdb, p.health, calls); err != nil {
		p.t.Fatal(err)
	}
	if diff := cmp.Diff(want, p.trips.take()); diff != "" {
		p.t.Errorf("round trips (-want +got):\n%s", diff)
	}
}

// trips is a client's hook that sees the pipelines of calls.
type trips struct {
	before func(trip int) error // called before each pipeline, which an error keeps from being sent; may be nil

	mu   sync.Mutex // protects sent
	sent []string
}

// take returns the names of the commands of each pipeline since the last time.
func (h *trips) take() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	sent := h.sent
	h.sent = nil
	return sent
}

func (h *trips) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		if cmds[0].Name() == "client" {
			return next(ctx, cmds) // a new connection says what it is
		}
		names := make([]string, len(cmds))
		for i, cmd := range cmds {
			names[i] = cmd.Name()
		}
		h.mu.Lock()
		h.sent = append(h.sent, fmt.Sprint(names))
		trip := len(h.sent)
		h.mu.Unlock()
		if h.before != nil {
			if err := h.before(trip); err != nil {
				return err
			}
		}
		return next(ctx, cmds)
	}
}

func (*trips) DialHook(next redis.DialHook) redis.DialHook          { return next }
func (*trips) ProcessHook(next redis.ProcessHook) redis.ProcessHook { return next }

// newCall returns a call of the script.
func newCall(s *Script, redisKey string, args ...any) *Call {
	c := new(Call)
	c.Prepare(s, redisKey, args...)
	return c
}

// newUnlink returns a call that deletes the key.
func newUnlink(redisKey string) *Call {
	c := new(Call)
	c.Unlink(redisKey)
	return c
}

// replies returns the reply of each call, or its error.
func replies(calls []*Call) []any {
	rs := make([]any, len(calls))
	for i, c := range calls {
		r, err := c.Cmd.Result()
		if rs[i] = r; err != nil {
			rs[i] = err.Error()
		}
	}
	return rs
}

func same(t *testing.T, want []any, calls ...*Call) {
	t.Helper()
	if diff := cmp.Diff(want, replies(calls)); diff != "" {
		t.Errorf("replies (-want +got):\n%s", diff)
	}
}

// TestScriptFlush: scripts that the server does not know are sent again with their source, in one round trip, and
// nothing else is; then the server knows them.
func TestScriptFlush(t *testing.T) {
	testserver.EveryRedis(t, func(t *testing.T, rdb redis.UniversalClient) {
		p := newProcess(t, rdb)
		if err := errors.Join(rdb.ScriptFlush(t.Context()).Err(), rdb.Set(t.Context(), "old", "x", 0).Err()); err != nil {
			t.Fatal(err)
		}
		p.run([]*Call{newCall(add, "n", 5)}, "[evalsha]", "[eval]")
		text := "b"
		calls := []*Call{newCall(add, "n", 2), newUnlink("old"), newCall(both, "k", "a", &text), newCall(nothing, "k"), newUnlink("old")}
		p.run(calls, "[evalsha unlink evalsha evalsha unlink]", "[eval eval]")
		same(t, []any{int64(7), int64(1), []any{"a", "b"}, redis.Nil.Error(), int64(0)}, calls...)

		if err := rdb.ScriptFlush(t.Context()).Err(); err != nil {
			t.Fatal(err)
		}
		p.run(calls, "[evalsha unlink eval eval unlink]", "[eval]")
		same(t, []any{int64(9), int64(0), []any{"a", "b"}, redis.Nil.Error(), int64(0)}, calls...)
		calls[0].Prepare(add, "n", 1)
		calls[2].Unlink("n")
		p.run(calls[:3], "[evalsha unlink unlink]")
		same(t, []any{int64(10), int64(0), int64(1)}, calls[:3]...)
		if p.health.Away() {
			t.Error("Redis counts as away because of scripts that it does not know")
		}
	})
}

// TestOneCallFails: what concerns one call's key touches no other call, and says nothing about Redis.
func TestOneCallFails(t *testing.T) {
	testserver.EveryRedis(t, func(t *testing.T, rdb redis.UniversalClient) {
		p := newProcess(t, rdb)
		if err := errors.Join(rdb.ScriptFlush(t.Context()).Err(), rdb.Set(t.Context(), "text", "x", 0).Err()); err != nil {
			t.Fatal(err)
		}
		p.run([]*Call{newCall(add, "n", 0)}, "[evalsha]", "[eval]")
		calls := []*Call{newCall(add, "n", 1), newCall(add, "text", 1), newCall(add, "n", 1), newUnlink("text")}
		p.run(calls, "[evalsha evalsha evalsha unlink]")
		if err := calls[1].Cmd.Err(); !errors.As(err, new(redis.Error)) || redishealth.ServerFailed(err) {
			t.Errorf("a call on a key of another type: %v, want the key's error", err)
		}
		same(t, []any{int64(1), int64(2), int64(1)}, calls[0], calls[2], calls[3])
		if p.health.Away() {
			t.Error("Redis counts as away because of a key")
		}
	})
}

// TestConnectionLost: no call is without an answer though the connection is lost, before the first round trip or
// between both, and that counts for the node once. The same calls can be run again.
func TestConnectionLost(t *testing.T) {
	testserver.BothRedises(t, func(t *testing.T, addr string) {
		for lost := 1; lost <= 2; lost++ {
			proxy := testserver.Proxy(t, addr)
			p := newProcess(t, testserver.ConnectRedis(t, proxy.Addr()))
			p.trips.before = func(trip int) error {
				if trip == lost {
					proxy.Refuse()
				}
				return nil
			}
			source := New(fmt.Sprintf("return %d -- is known to no server", lost))
			calls := []*Call{newCall(source, "k"), newUnlink("k"), newCall(source, "k")}
			p.run(calls, []string{"[evalsha unlink evalsha]", "[eval eval]"}[:lost]...)
			for i, c := range calls {
				answered := lost == 2 && i == 1
				if err := c.Cmd.Err(); redishealth.ServerFailed(err) == answered {
					t.Errorf("lost before round trip %d: call %d says %v", lost, i, err)
				}
			}
			if !p.health.KeyAway("k") {
				t.Errorf("lost before round trip %d, and Redis does not count as away", lost)
			}
			p.trips.before = nil
			proxy.Accept()
			if err := Run(t.Context(), p.rdb, p.health, calls); err != nil {
				t.Fatal(err)
			}
			same(t, []any{int64(lost), int64(0), int64(lost)}, calls...)
		}
	})
}

// TestClientGivesUp: when the client fails before it has sent anything, each call says so.
func TestClientGivesUp(t *testing.T) {
	t.Parallel()
	p := newProcess(t, testserver.ConnectRedis(t, testserver.Miniredis(t).Addr()))
	p.trips.before = func(int) error { return redis.ErrPoolTimeout }
	calls := []*Call{newCall(add, "n", 1), newUnlink("n")}
	p.run(calls, "[evalsha unlink]")
	same(t, []any{redis.ErrPoolTimeout.Error(), redis.ErrPoolTimeout.Error()}, calls...)
	if !p.health.KeyAway("n") {
		t.Error("Redis does not count as away")
	}
}

// TestOneNodeLost: on a Cluster the calls of other nodes are answered, and only the lost node counts as away.
func TestOneNodeLost(t *testing.T) {
	t.Parallel()
	masters := testserver.Cluster(t, 3)
	p := newProcess(t, testserver.ConnectCluster(t, masters[0].Addr()))
	var calls []*Call
	for i := range 50 {
		calls = append(calls, newCall(add, fmt.Sprint("n", i), 1), newUnlink(fmt.Sprint("u", i)))
	}
	if err := Run(t.Context(), p.rdb, p.health, calls); err != nil {
		t.Fatal(err)
	}
	masters[1].Kill()
	if err := Run(t.Context(), p.rdb, p.health, calls); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{masters[1].Addr()}, p.health.Nodes()); diff != "" {
		t.Errorf("nodes that are away (-want +got):\n%s", diff)
	}
	answered := 0
	for i, c := range calls {
		away, err := p.health.KeyAway(c.RedisKey), c.Cmd.Err()
		if away != redishealth.ServerFailed(err) {
			t.Errorf("%s: away %t, but the call says %v", c.RedisKey, away, err)
		}
		if n, err := c.Cmd.Int64(); err == nil && i%2 == 0 {
			if answered++; n != 2 {
				t.Errorf("%s is %d after 2 calls", c.RedisKey, n)
			}
		}
	}
	if answered == 0 || answered == len(calls)/2 {
		t.Errorf("%d of %d calls are answered, want those of two nodes", answered, len(calls)/2)
	}
	if !slices.ContainsFunc(calls, func(c *Call) bool { return c.script == nil && c.Cmd.Err() == nil }) {
		t.Error("no deletion is answered")
	}
}

// TestContextEnded: a caller that gave up sends nothing, and that does not count.
func TestContextEnded(t *testing.T) {
	t.Parallel()
	p := newProcess(t, testserver.ConnectRedis(t, testserver.Miniredis(t).Addr()))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	c := newCall(add, "n", 1)
	if err := Run(ctx, p.rdb, p.health, []*Call{c}); !errors.Is(err, context.Canceled) || c.Cmd != nil || p.health.Away() {
		t.Errorf("%v, sent %t, away %t; want ctx's error and nothing else", err, c.Cmd != nil, p.health.Away())
	}
}

// TestPreparedAgainAllocatesNothing guards the limiter's budget.
func TestPreparedAgainAllocatesNothing(t *testing.T) {
	var c Call
	key, id, limit := "ratelimit:comm_007:command", "e1", int64(1_000_000)
	if n := testing.AllocsPerRun(100, func() {
		c.Prepare(add, key, &limit, &id)
		c.Append(&id)
		c.Reset()
	}); n != 0 {
		t.Errorf("%v allocations, want none", n)
	}
}
