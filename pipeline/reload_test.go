package pipeline

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"arrakis/limiter"
	"arrakis/loadtest/testserver"
	"arrakis/shard"
	"arrakis/tenant"
	"arrakis/tenant/store"
)

// logBuffer takes a log while a test reads it.
type logBuffer struct {
	mu sync.Mutex // protects b
	b  bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// A reset in another process makes this one's memory for outages forget the limits that were reset, those of users too,
// and no other community's.
func TestResetReachesTheLimitersMemory(t *testing.T) {
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
	b := setup(t)
	log := new(logBuffer)
	b.handlers.Command("limits", func(_ context.Context, m *Message) (any, error) {
		return map[string]any{"max": m.Tenant.Max[tenant.Command], "flags": m.Features()}, nil
	})
	logger := slog.New(slog.NewTextHandler(log, nil))
	b.options = func(o *Options) { o.Logger = logger }
	b.store = store.New(b.rdb, store.Options{Logger: logger})
	set := func(key, text string) {
		t.Helper()
		if err := b.redis.Set(key, text); err != nil {
			t.Fatal(err)
		}
	}
	flag := func(id string) { b.redis.HSet("arrakis:flags", id, `{"id":"`+id+`","enabled":true}`) }
	p, _ := b.start()
	n := 0
	limits := func(community string) string {
		t.Helper()
		n++
		o := b.outcome(b.publish("commands.interaction", command(community, "limits", fmt.Sprint("e", n))))
		return string(o.Result)
	}
	want := func(community, max string, flags ...string) {
		t.Helper()
		text, err := json.Marshal(append([]string{}, flags...))
		if err != nil {
			t.Fatal(err)
		}
		result := fmt.Sprintf(`{"flags":%s,"max":%s}`, text, max)
		var got string
		testserver.Eventually(t, community+" has "+result, func() bool {
			got = limits(community)
			return got == result
		})
	}
	reload := func(e tenant.Event) {
		t.Helper()
		if err := p.Reload(t.Context(), e); err != nil {
			t.Fatal(err)
		}
	}

	set("arrakis:tiers", `{"free":{"rateLimits":{"commandsPerMinute":1000}}}`)
	set("tenant:config:bad", `{"tier":"free","rateLimits":{"commandsPerMinute":2000}}`)
	flag("a")
	reload(tenant.Event{Type: tenant.GlobalChanged})
	want("bad", "2000", "a")
	want("other", "1000", "a")

	// Each of the three kinds goes bad. A new flag still takes effect.
	set("arrakis:tiers", `{"free":{"rateLimits":{"commandsPerMinute":"20"}}}`)
	set("tenant:config:bad", `{"rateLimits":`)
	b.redis.HSet("arrakis:flags", "a", "{")
	flag("b")
	reload(tenant.Event{Type: tenant.GlobalChanged})
	reload(tenant.Event{Type: tenant.TenantChanged, TargetID: "bad"})
	want("bad", "2000", "a", "b")
	want("other", "1000", "a", "b")
	for _, key := range []string{"arrakis:tiers", "tenant:config:bad", `"arrakis:flags a"`} {
		if got := strings.Count(log.String(), "key="+key); got != 1 {
			t.Errorf("%s is named %d times, want 1:\n%s", key, got, log.String())
		}
	}
	// Too many flags do not stop new tiers from being read.
	for i := range store.MaxFlags {
		flag(fmt.Sprint("f", i))
	}
	set("arrakis:tiers", `{"free":{"rateLimits":{"commandsPerMinute":3000}}}`)
	reload(tenant.Event{Type: tenant.GlobalChanged})
	want("other", "3000", "a", "b")
	if b.limits.Degraded() || strings.Contains(log.String(), "is away") {
		t.Errorf("Redis counts as away:\n%s", log.String())
	}

	// Mended, without an event.
	b.redis.Del("arrakis:flags")
	flag("c")
	set("tenant:config:bad", `{"tier":"free","rateLimits":{"commandsPerMinute":4000}}`)
	want("bad", "4000", "c")
	testserver.Eventually(t, "nothing is unusable", func() bool {
		for _, u := range b.store.Unusable() {
			if u.Count > 0 {
				return false
			}
		}
		return true
	})
}
