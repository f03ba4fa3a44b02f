package pipeline

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"arrakis/limiter"
	"arrakis/loadtest/testserver"
	"arrakis/shard"
	"arrakis/tenant"
	"arrakis/tenant/store"
)

// A reset in another process makes this one's memory for outages forget the limits that were reset, those of users too,
// and no other community's.
func TestResetReachesTheLimitersMemory(t *testing.T) {
	t.Parallel()
	for target, want := range map[string]map[string]bool{ // what is admitted again
		"c1":                   {"c1": true, "c1 user": true},
		"c1:command":           {"c1": true},
		"c1:user_command":      {"c1 user": true},
		"c1:eligibility_check": {},
	} {
		t.Run(target, func(t *testing.T) {
			b := setup(t)
			p, _ := b.start()
			keys := map[string]string{
				"c1": shard.Key("c1", tenant.Command), "c1 user": shard.UserKey("c1", "ann"),
				"others": shard.Key("c", tenant.Command), "c user": shard.UserKey("c", "ann"),
				"c1:x user": shard.UserKey("c1:x", "ann"), "x:c1 user": shard.UserKey("x:c1", "ann"),
				"odd user":  shard.UserKey("c1:user_command", "ann"),
				"odd other": shard.UserKey("c12", "c1:user_command/ann"),
			}
			limit := limiter.Limit{Max: 1, Window: time.Hour}
			admitted := func(name, id string) bool {
				t.Helper()
				vs, err := b.limits.Allow(t.Context(), keys[name], limit, id)
				if err != nil {
					t.Fatal(err)
				}
				return vs[0].Allowed
			}
			for name := range keys {
				if !admitted(name, "first") {
					t.Fatalf("%s: the first message is rejected", name)
				}
			}
			b.redis.FlushAll() // the other process has reset them all
			if err := p.Reload(t.Context(), tenant.Event{Type: tenant.LimitReset, TargetID: target}); err != nil {
				t.Fatal(err)
			}
			b.redis.SetError("MISCONF away")
			for name := range keys {
				if got := admitted(name, "second"); got != want[name] {
					t.Errorf("%s: admitted %t by memory after the reset, want %t", name, got, want[name])
				}
			}
		})
	}
}

// F1: documents that cannot be used do not say that Redis is away, and affect only what they are about. What was mended
// is in force within a second, with an event or without.
func TestF1UnusableDocuments(t *testing.T) {
	t.Parallel()
	d := newDocuments(t)
	d.set("arrakis:tiers", `{"free":{"rateLimits":{"commandsPerMinute":1000}}}`)
	d.set("tenant:config:bad", `{"tier":"free","rateLimits":{"commandsPerMinute":2000}}`)
	d.flag("a")
	d.reload(tenant.Event{Type: tenant.GlobalChanged})
	d.want("bad", "2000", "a")
	d.want("other", "1000", "a")

	// Each kind goes bad. A new flag still takes effect.
	d.set("arrakis:tiers", `{"free":{"rateLimits":{"commandsPerMinute":"20"}}}`)
	d.set("tenant:config:bad", `{"rateLimits":`)
	d.redis.HSet("arrakis:flags", "a", "{")
	d.flag("b")
	d.reload(tenant.Event{Type: tenant.GlobalChanged})
	d.reload(tenant.Event{Type: tenant.TenantChanged, TargetID: "bad"})
	d.want("bad", "2000", "a", "b")
	d.want("other", "1000", "a", "b")
	d.set("tenant:config:member", `{"tier":"free","account":"acme"}`)
	d.set("account:config:acme", `{"tier":"gold"}`)
	d.want("member", "1000", "a", "b") // as its own config says
	for _, key := range []string{"arrakis:tiers", "tenant:config:bad", "account:config:acme", `"arrakis:flags a"`} {
		if got := d.log.Count("key=" + key); got != 1 {
			t.Errorf("%s is named %d times, want 1:\n%s", key, got, d.log.String())
		}
	}
	// Too many flags do not stop new tiers from being read.
	many := make([]string, store.MaxFlags)
	for i := range many {
		many[i] = fmt.Sprint("f", i)
	}
	d.flag(many...) // at once: the worker may read them at any moment, and would take what is not too many yet
	d.set("arrakis:tiers", `{"free":{"rateLimits":{"commandsPerMinute":3000}}}`)
	d.reload(tenant.Event{Type: tenant.GlobalChanged})
	d.want("other", "3000", "a", "b")
	if d.limits.Degraded() || strings.Contains(d.log.String(), "is away") {
		t.Errorf("Redis counts as away:\n%s", d.log.String())
	}

	// Mended, without an event.
	d.redis.Del("arrakis:flags")
	d.flag("c")
	d.set("tenant:config:bad", `{"tier":"free","rateLimits":{"commandsPerMinute":4000}}`)
	d.set("account:config:acme", `{"tier":"free","rateLimits":{"commandsPerMinute":5000}}`)
	d.want("bad", "4000", "c")
	d.want("member", "5000", "c")
	testserver.Eventually(t, "nothing is unusable", func() bool {
		for _, u := range d.store.Unusable() {
			if u.Count > 0 {
				return false
			}
		}
		return true
	})
}

// documents are tiers, configs and flags, and a worker that reads them.
type documents struct {
	*bundle
	worker *Pipeline
	log    *testserver.Output // of the worker and the store
	asked  int                // messages
}

func newDocuments(t *testing.T) *documents {
	t.Helper()
	d := &documents{bundle: setup(t), log: new(testserver.Output)}
	d.handlers.Command("limits", func(_ context.Context, m *Message) (any, error) {
		return map[string]any{"max": m.Tenant.Max[tenant.Command], "flags": m.Features()}, nil
	})
	logger := d.log.Logger()
	d.options = func(o *Options) { o.Logger = logger }
	d.store = store.New(d.rdb, store.Options{Logger: logger})
	d.worker, _ = d.start()
	return d
}

func (d *documents) set(key, text string) {
	d.t.Helper()
	if err := d.redis.Set(key, text); err != nil {
		d.t.Fatal(err)
	}
}

// flag stores flags that are on for everybody.
func (d *documents) flag(ids ...string) {
	var fields []string
	for _, id := range ids {
		fields = append(fields, id, `{"id":"`+id+`","enabled":true}`)
	}
	d.redis.HSet("arrakis:flags", fields...)
}

func (d *documents) reload(e tenant.Event) {
	d.t.Helper()
	if err := d.worker.Reload(d.t.Context(), e); err != nil {
		d.t.Fatal(err)
	}
}

// want waits until a message of the community has the limit of commands and the flags.
func (d *documents) want(community, limit string, flags ...string) {
	d.t.Helper()
	text, err := json.Marshal(append([]string{}, flags...))
	if err != nil {
		d.t.Fatal(err)
	}
	result := fmt.Sprintf(`{"flags":%s,"max":%s}`, text, limit)
	testserver.Eventually(d.t, community+" has "+result, func() bool {
		d.asked++
		id := fmt.Sprint("e", d.asked)
		return string(d.outcome(d.publish("commands.interaction", command(community, "limits", id))).Result) == result
	})
}
