package pipeline

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nuid"

	"arrakis/limiter"
	"arrakis/loadtest/testserver"
	"arrakis/pipeline/contract"
	"arrakis/tenant"
)

// inShadow is a worker with a handler of ping, and the community c in shadow mode.
func inShadow(t *testing.T, config string) *bundle {
	t.Helper()
	b := setup(t)
	b.redis.SetTime(time.Now()) // no permit becomes free while the test runs
	b.handlers.Command("ping", func(context.Context, *Message) (any, error) { return "pong", nil })
	b.configure("c", config)
	return b
}

func (b *bundle) configure(community, config string) {
	b.t.Helper()
	if err := b.redis.Set("tenant:config:"+community, config); err != nil {
		b.t.Fatal(err)
	}
}

// pingsPass publishes commands of c, one after the other, each of which must be handled, and show no limit to its sender.
func (b *bundle) pingsPass(prefix string, n int) {
	b.t.Helper()
	for i := range n {
		o := b.outcome(b.publish("commands.interaction", command("c", "ping", fmt.Sprint(prefix, i+1))))
		want := &contract.RateLimit{Action: "command", Limit: -1, Remaining: -1}
		if diff := cmp.Diff(want, o.RateLimit); o.Status != contract.StatusOK || diff != "" {
			b.t.Errorf("%s%d: %s, limit (-want +got):\n%s", prefix, i+1, o.Status, diff)
		}
	}
}

// wantCommands waits until so many commands are counted under each status. A status that is not named has none.
func (b *bundle) wantCommands(want map[string]int) {
	b.t.Helper()
	counts := func() map[string]int {
		got := map[string]int{}
		for _, status := range statusLabels {
			if n := int(b.commands(status)); n > 0 {
				got[status] = n
			}
		}
		return got
	}
	testserver.Eventually(b.t, fmt.Sprint("commands are counted as ", want), func() bool { return cmp.Equal(counts(), want) })
}

// TestShadow: every message of a community in shadow mode is handled, and its sender sees no limit; permits are charged
// as always, and what would be rejected is counted. A change of the mode is in force at once.
func TestShadow(t *testing.T) {
	t.Parallel()
	b := inShadow(t, `{"tier":"free","mode":"shadow"}`)
	p, _ := b.start()
	b.pingsPass("e", 13)
	b.wantCommands(map[string]int{"success": 10, "shadow_limited": 3})
	if n := b.charged("c:command"); n != 10 {
		t.Errorf("%d permits are taken, want the limit of 10", n)
	}
	for i, tt := range []struct {
		mode string
		want contract.Status
	}{{"enforce", contract.StatusRateLimited}, {"shadow", contract.StatusOK}, {"enforce", contract.StatusRateLimited}} {
		b.configure("c", `{"tier":"free","mode":"`+tt.mode+`"}`)
		if err := p.Reload(t.Context(), tenant.Event{Type: tenant.TenantChanged, TargetID: "c"}); err != nil {
			t.Fatal(err)
		}
		if o := b.outcome(b.publish("commands.interaction", command("c", "ping", fmt.Sprint("after", i)))); o.Status != tt.want {
			t.Errorf("with the mode %s: %s, want %s", tt.mode, o.Status, tt.want)
		}
	}
	b.wantCommands(map[string]int{"success": 10, "shadow_limited": 4, "rate_limited": 2})
}

// TestShadowOfATier: a tier in shadow mode holds for communities without a config, and for every action.
func TestShadowOfATier(t *testing.T) {
	t.Parallel()
	b := inShadow(t, `{"tier":"free"}`)
	b.handlers.Eligibility("single", func(context.Context, *Message) (any, error) { return nil, nil })
	b.handlers.Sync("community_sync", func(context.Context, *Message) (any, error) { return nil, errors.New("never") })
	b.options = func(o *Options) { o.MaxAttempts = 1 }
	if err := b.redis.Set("arrakis:tiers", `{"free":{"mode":"shadow","rateLimits":{"eligibilityChecksPerHour":2}}}`); err != nil {
		t.Fatal(err)
	}
	b.start()
	for i := range 5 {
		id := fmt.Sprint("e", i)
		b.send("eligibility.check.single", fmt.Appendf(nil, `{"event_id":%q,"event_type":"x","community_id":"new","check_type":"single"}`, id))
		b.send("eligibility.sync.c", fmt.Appendf(nil, `{"event_id":%q,"event_type":"x","community_id":"c","check_type":"community_sync"}`, id))
	}
	b.pingsPass("e", 12)
	results := func(result string) int {
		return int(b.counted("arrakis_tenant_eligibility_checks_total", "result", result))
	}
	testserver.Eventually(t, "2 checks pass under their limit and 3 above; 1 sync fails under it and 4 above", func() bool {
		return results("success") == 2 && results("error") == 1 && results("shadow_limited") == 3+4
	})
	if n := b.counted("arrakis_tenant_errors_total", "error_type", "handler_error"); n != 5 {
		t.Errorf("%v errors of handlers are counted, want those of all 5 syncs", n)
	}
	b.wantCommands(map[string]int{"success": 10, "shadow_limited": 2})
}

// TestShadowCountsWhatEnforcementWouldReject: with the same traffic, one community is enforced and one is in shadow mode. As
// many commands are counted as shadow_limited as are rejected, and both end with the same permits, also of their users.
func TestShadowCountsWhatEnforcementWouldReject(t *testing.T) {
	t.Parallel()
	for name, config := range map[string]string{
		"limit":          `{"tier":"free","mode":%q}`,
		"none":           `{"tier":"free","rateLimits":{"commandsPerMinute":0},"mode":%q}`,
		"users":          `{"tier":"free","rateLimits":{"commandsPerMinute":12,"userCommandsPerMinute":3},"mode":%q}`,
		"users and none": `{"tier":"free","rateLimits":{"commandsPerMinute":5,"userCommandsPerMinute":0},"mode":%q}`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := inShadow(t, fmt.Sprintf(config, "shadow"))
			b.configure("d", fmt.Sprintf(config, "enforce"))
			b.start()
			sent := 0
			for range 40 {
				id, user := fmt.Sprint("e", rand.N(30)), fmt.Sprint("user", rand.N(5)) // some event IDs come twice
				for _, community := range []string{"c", "d"} {
					body := fmt.Appendf(nil, `{"event_id":%q,"event_type":"x","guild_id":%q,"user_id":%q,"data":{"command_name":"ping"}}`, id, community, user)
					o := b.outcome(b.publish("commands.interaction", body))
					if community == "c" && o.Status != contract.StatusOK {
						t.Errorf("%+v", o)
					}
				}
				sent++
			}
			testserver.Eventually(t, "all are counted", func() bool {
				return int(b.commands("success")+b.commands("rate_limited")+b.commands("shadow_limited")) == 2*sent
			})
			if rejected, counted := b.commands("rate_limited"), b.commands("shadow_limited"); rejected == 0 || rejected != counted {
				t.Errorf("%v are counted as shadow_limited, and %v are rejected", counted, rejected)
			}
			if diff := cmp.Diff(b.permits("d"), b.permits("c")); diff != "" {
				t.Errorf("permits (-enforced +in shadow mode):\n%s", diff)
			}
		})
	}
}

// permits are the permits of a community by the rest of their keys.
func (b *bundle) permits(community string) map[string][]string {
	b.t.Helper()
	all := map[string][]string{}
	for _, key := range b.redis.Keys() {
		rest, is := strings.CutPrefix(key, "ratelimit:"+community+":")
		if !is {
			continue
		}
		members, err := b.redis.ZMembers(key)
		if err != nil {
			b.t.Fatal(err)
		}
		all[rest] = members
	}
	return all
}

// TestShadowIsCarried: a message that would be rejected, and is stored again, in RETRY or in a lane, counts once, when it
// ends, and is not asked for again.
func TestShadowIsCarried(t *testing.T) {
	t.Parallel()
	for name, prepare := range map[string]func(*bundle){
		"RETRY":    func(b *bundle) { b.options = func(o *Options) { o.RetryBackoff = seconds } },
		"OVERFLOW": func(b *bundle) { b.stayInLane("c") },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := inShadow(t, `{"tier":"free","mode":"shadow","rateLimits":{"userCommandsPerMinute":2}}`)
			prepare(b)
			b.handlers.Command("retried", func(_ context.Context, m *Message) (any, error) {
				if m.Attempt == 1 && name == "RETRY" {
					return nil, errors.New("the first attempt fails")
				}
				return nil, nil
			})
			b.start()
			for i := range 3 {
				body := fmt.Appendf(nil, `{"event_id":"e%d","event_type":"x","guild_id":"c","user_id":"u","data":{"command_name":"retried"}}`, i)
				b.send("commands.interaction", body)
			}
			b.wantCommands(map[string]int{"success": 2, "shadow_limited": 1})
			if n := b.charged("c:command"); n != 2 {
				t.Errorf("%d permits are taken, want 2", n)
			}
			wantErrors := map[string]float64{"RETRY": 3, "OVERFLOW": 0}[name]
			if n := b.counted("arrakis_tenant_errors_total", "error_type", "handler_error"); n != wantErrors {
				t.Errorf("%v errors are counted, want %v", n, wantErrors)
			}
		})
	}
}

// TestShadowDoesNotDelay: in shadow mode a message over the limit reserves a permit, as it would, but is handled at once. What
// would be rejected, because too many wait, is counted.
func TestShadowDoesNotDelay(t *testing.T) {
	t.Parallel()
	b := inShadow(t, `{"tier":"free","mode":"shadow","onLimit":"delay","maxDelayed":3}`)
	p, _ := b.start()
	for i := range 16 {
		b.send("commands.interaction", command("c", "ping", fmt.Sprint("e", i)))
	}
	b.wantCommands(map[string]int{"success": 13, "shadow_limited": 3})
	b.pingsPass("waits", 1) // its sender would be told at once
	b.wantCommands(map[string]int{"success": 13, "shadow_limited": 4})
	if n := b.charged("c:command"); n != 13 {
		t.Errorf("%d permits are taken, want 10 and 3 that are reserved", n)
	}
	if n := b.counted("arrakis_delayed_total", "action", "command"); n != 0 {
		t.Errorf("%v messages are delayed", n)
	}
	b.configure("c", `{"tier":"free","onLimit":"delay","maxDelayed":4}`)
	if err := p.Reload(t.Context(), tenant.Event{Type: tenant.TenantChanged, TargetID: "c"}); err != nil {
		t.Fatal(err)
	}
	testserver.Eventually(t, "one is delayed, behind the three", func() bool { // for a second, it is known that no more may wait
		b.send("commands.interaction", command("c", "ping", nuid.Next()))
		return b.counted("arrakis_delayed_total", "action", "command") == 1
	})
}

// TestShadowOfDelaysChargesUsers: a message that passes with its reservation takes a permit of its user too, as it would
// after its wait. What the user's limit refuses then is counted.
func TestShadowOfDelaysChargesUsers(t *testing.T) {
	t.Parallel()
	b := inShadow(t, `{"tier":"free","mode":"shadow","onLimit":"delay","rateLimits":{"commandsPerMinute":2,"userCommandsPerMinute":4}}`)
	b.start()
	for i := range 6 {
		b.send("commands.interaction",
			fmt.Appendf(nil, `{"event_id":"e%d","event_type":"x","guild_id":"c","user_id":"u","data":{"command_name":"ping"}}`, i))
	}
	b.wantCommands(map[string]int{"success": 4, "shadow_limited": 2})
	testserver.Eventually(t, "4 permits are taken of the community, and 4 of the user", func() bool {
		return b.charged("c:command") == 4 && b.charged("c:user_command/u") == 4
	})
}

// TestShadowGivesReservationsBack: a command that reserved a permit, passed and expired before its turn leaves no permit
// behind.
func TestShadowGivesReservationsBack(t *testing.T) {
	t.Parallel()
	b := inShadow(t, `{"tier":"free","mode":"shadow","onLimit":"delay"}`)
	began, release := make(chan struct{}), make(chan struct{})
	// No command, because it could expire before it begins.
	b.handlers.Eligibility("hold", func(context.Context, *Message) (any, error) { close(began); <-release; return nil, nil })
	b.options = func(o *Options) { o.HandlerConcurrency, o.CommandTTL = 1, time.Hour }
	b.adjust = func(p *Pipeline) { p.handle.commandTTL = time.Second } // for reservations it is an hour
	b.start()
	b.send("eligibility.check.single", []byte(`{"event_id":"held","event_type":"x","community_id":"other","check_type":"hold"}`))
	<-began
	for i := range 12 {
		b.send("commands.interaction", command("c", "ping", fmt.Sprint("e", i)))
	}
	testserver.Eventually(t, "all 12 have a permit", func() bool { return b.charged("c:command") == 12 })
	sent := time.Now()
	testserver.Eventually(t, "their time to live has passed", func() bool { return time.Since(sent) > 2*time.Second })
	close(release)
	b.wantCommands(map[string]int{"expired": 12})
	testserver.Eventually(t, "no permit is left", func() bool { return b.charged("c:command") == 0 })
}

// TestShadowWhileLimitsCannotBeChecked: under the policy closed, messages in shadow mode pass while Redis is away. They do not
// count as limited, because nobody knows whether they are.
func TestShadowWhileLimitsCannotBeChecked(t *testing.T) {
	t.Parallel()
	b := inShadow(t, `{"tier":"free","mode":"shadow"}`)
	b.configure("d", `{"tier":"free"}`)
	var err error
	if b.limits, err = limiter.New(b.rdb, limiter.Options{OnRedisDown: limiter.Closed, Health: b.limits.Health()}); err != nil {
		t.Fatal(err)
	}
	b.start()
	b.pingsPass("before", 1)
	b.outcome(b.publish("commands.interaction", command("d", "ping", "e"))) // so that its tenant is cached
	b.redis.SetError("MISCONF away")
	b.pingsPass("away", 12)
	if o := b.outcome(b.publish("commands.interaction", command("d", "ping", "away"))); o.Status != contract.StatusError || o.Error.Code != 503 {
		t.Errorf("enforced: %+v %+v, want 503", o, o.Error)
	}
	b.redis.SetError("")
	b.wantCommands(map[string]int{"success": 14, "error": 1})
}

// TestShadowKeepsTheOrder: what passes in shadow mode stays in order with what is admitted.
func TestShadowKeepsTheOrder(t *testing.T) {
	t.Parallel()
	b := inShadow(t, `{"tier":"free","mode":"shadow"}`)
	b.options = func(o *Options) { o.TenantConcurrency = 1 }
	ran := make(chan string, 40)
	b.handlers.Command("note", func(_ context.Context, m *Message) (any, error) { ran <- m.EventID; return nil, nil })
	var want []string
	b.ensure()
	for i := range 40 {
		want = append(want, fmt.Sprint("e", i))
		b.send("commands.interaction", command("c", "note", want[i]))
	}
	b.start()
	var got []string
	for range want {
		got = append(got, <-ran)
	}
	if !slices.Equal(got, want) {
		t.Errorf("ran in the order %v", got)
	}
}
