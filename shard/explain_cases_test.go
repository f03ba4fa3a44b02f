package shard

import (
	"context"
	"errors"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"arrakis/limiter"
	"arrakis/limiter/redishealth"
	"arrakis/tenant"
	"arrakis/tenant/store"
)

// trips counts round trips to Redis.
type trips struct{ n atomic.Int64 }

func (*trips) DialHook(next redis.DialHook) redis.DialHook { return next }

func (c *trips) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error { c.n.Add(1); return next(ctx, cmd) }
}

func (c *trips) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error { c.n.Add(1); return next(ctx, cmds) }
}

// TestExplainAsksOnce: an explanation costs one round trip, also for a community that has used its limit up. Only where that
// is not enough, as in an account, it costs another one.
func TestExplainAsksOnce(t *testing.T) {
	b := setup(t, Options{Shards: 1})
	rdb := redis.NewClient(&redis.Options{Addr: b.redis.Addr()})
	t.Cleanup(func() { _ = rdb.Close() })
	limits, err := limiter.New(rdb, limiter.Options{})
	if err != nil {
		t.Fatal(err)
	}
	asked := &Limits{Tenants: store.New(rdb, store.Options{}), Limiter: limits}
	counter := new(trips)
	for community, config := range map[string]string{
		"pro":   `{"tier":"pro","rateLimits":{"commandsPerMinute":3},"boosts":{"syncRequestsPerDay":{"add":1,"until":"2099-01-01T00:00:00Z"}}}`,
		"guild": `{"communityId":"pro","tier":"free"}`, "member": `{"tier":"free","account":"acme"}`, "lowered": `{"tier":"free"}`, "unlimited": `{"tier":"enterprise"}`,
	} {
		if err := b.redis.Set("tenant:config:"+community, config); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.redis.Set("account:config:acme", `{"tier":"pro","counted":"together"}`); err != nil {
		t.Fatal(err)
	}
	b.send(commands("pro", 0, 5)...)
	b.send(commands("none", 0, 5)...)
	b.send(commands("lowered", 0, 8)...)
	if err := b.redis.Set("tenant:config:lowered", `{"tier":"free","rateLimits":{"commandsPerMinute":2}}`); err != nil {
		t.Fatal(err)
	}
	if _, err := asked.Explain(t.Context(), "none", ""); err != nil { // the connection is made, and the script is known
		t.Fatal(err)
	}
	rdb.AddHook(counter)
	for _, tt := range []struct {
		community string
		decision  Decision
		trips     int64
	}{{"none", Allowed, 1}, {"unlimited", Allowed, 1}, {"pro", RateLimited, 1}, {"guild", Allowed, 2}, {"member", Allowed, 2}, {"lowered", RateLimited, 2}} {
		counter.n.Store(0)
		e, err := asked.Explain(t.Context(), tt.community, "ann")
		if err != nil {
			t.Fatal(err)
		}
		if n := counter.n.Load(); e.Verdict.Decision != tt.decision || n != tt.trips {
			t.Errorf("%s: %+v in %d round trips, want %s in %d", tt.community, e.Verdict, n, tt.decision, tt.trips)
		}
	}
}

// TestExplainWhatABoostLeaves: where only a boost gives a community permits, and the next one that would be free is behind
// those that wait, a command is rejected at once if the boost ends before.
func TestExplainWhatABoostLeaves(t *testing.T) {
	b := setup(t, Options{Shards: 1})
	asked := &Limits{Tenants: b.store, Limiter: b.limits}
	b.redis.SetTime(time.Now().Truncate(time.Second))
	none := int64(0)
	b.delays("c1", 3, func(c *tenant.Config) { c.RateLimits.CommandsPerMinute = &none })
	b.boost("c1", `{"rateLimits":{"commandsPerMinute":1},"for":"90s"}`)
	notes := b.send(commands("c1", 0, 3)...)
	for i, want := range []Decision{Delayed, RateLimited} {
		e, err := asked.Explain(t.Context(), "c1", "")
		if err != nil {
			t.Fatal(err)
		}
		never := want == RateLimited
		if use := e.Limits[tenant.Command].Use; e.Verdict.Decision != want || use.Never != never {
			t.Errorf("explained as %+v with the use %+v, want %s", e.Verdict, use, want)
		}
		if r := b.reserve(notes[1+i])[0]; (r.Answer == limiter.Granted) == never {
			t.Errorf("the reservation is %+v, explained as %s", r, want)
		}
	}
}

// TestExplainUnusable: a document that cannot be used is named, and the last usable one counts, as for the shards.
func TestExplainUnusable(t *testing.T) {
	b := setup(t, Options{Shards: 1})
	asked := &Limits{Tenants: b.store, Limiter: b.limits}
	set := func(config string) Explanation {
		t.Helper()
		if err := b.redis.Set("tenant:config:c1", config); err != nil {
			t.Fatal(err)
		}
		e, err := asked.Explain(t.Context(), "c1", "")
		if err != nil {
			t.Fatal(err)
		}
		return e
	}
	if e := set(`{"tier":"gold"}`); e.Tier != tenant.Free || !slices.Equal(e.Unusable, []string{"tenant:config:c1"}) {
		t.Errorf("%+v", e)
	}
	if e := set(`{"tier":"pro"}`); e.Tier != tenant.Pro || e.Unusable != nil {
		t.Errorf("%+v", e)
	}
	b.redis.HSet("arrakis:flags", "bad", "{")
	b.redis.HSet("arrakis:flags", "good", `{"id":"good","enabled":true}`)
	if err := b.redis.Set("arrakis:tiers", `{"gold":1,"pro":[]}`); err != nil {
		t.Fatal(err)
	}
	e := set(`{"tier":"gold"}`)
	if want := []string{"tenant:config:c1", "arrakis:tiers", "arrakis:flags bad"}; e.Tier != tenant.Pro || !slices.Equal(e.Unusable, want) ||
		len(e.Flags) != 1 || e.Flags[0] != (tenant.FlagDecision{ID: "good", On: true, Rule: tenant.RuleOn}) {
		t.Errorf("%+v, want %v to be unusable", e, want)
	}
	b.redis.Del("ratelimit:c1:command")
	if _, err := b.redis.Lpush("ratelimit:c1:command", "x"); err != nil {
		t.Fatal(err)
	}
	if e := set(`{"tier":"pro"}`); !e.Degraded || e.Verdict.Decision != Allowed {
		t.Errorf("with a key that cannot be used: %+v", e)
	}
}

// TestExplainRefuses: a bad ID, and a Redis that does not answer.
func TestExplainRefuses(t *testing.T) {
	b := setup(t, Options{Shards: 1})
	asked := &Limits{Tenants: b.store, Limiter: b.limits}
	for id, user := range map[string]string{"a.b": "", "c1": "a/b"} {
		if _, err := asked.Explain(t.Context(), id, user); !errors.As(err, new(*tenant.FieldError)) {
			t.Errorf("%s of %s: %v", user, id, err)
		}
	}
	b.redis.SetError("LOADING")
	if _, err := asked.Explain(t.Context(), "c1", ""); !errors.Is(err, redishealth.ErrAway) {
		t.Errorf("without Redis: %v, want that it is away", err)
	}
}
