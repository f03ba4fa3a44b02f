package rest

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"

	"arrakis/limiter/redishealth"
	"arrakis/loadtest/testserver"
	"arrakis/loadtest/testserver/fakediscord"
	"arrakis/pipeline/discord"
)

// frozen starts a Redis whose clock stands still, so that windows do not move on a slow machine, and two processes.
func frozen(t *testing.T) (m *miniredis.Miniredis, one, two *world) {
	t.Helper()
	m = testserver.Miniredis(t)
	m.SetTime(time.Now())
	one = newWorld(t, m.Addr())
	return m, one, one.process(m.Addr())
}

// advance moves the clock of Redis, and lets the processes forget what they know by their own clocks.
func advance(m *miniredis.Miniredis, d time.Duration, processes ...*world) {
	now := time.Now().Add(d)
	m.SetTime(now)
	m.FastForward(d)
	for _, p := range processes {
		p.guards.holds, p.guards.full = newHolds(), newHolds()
	}
}

// Processes share the calls of an interaction.
func TestFiveCallsForAnInteraction(t *testing.T) {
	t.Parallel()
	m, one, two := frozen(t)
	target := one.deferred("1")
	for range 2 {
		one.sends(edit(target))
		two.sends(edit(target))
	}
	one.sends(edit(target))
	for _, w := range []*world{one, two} {
		if after := w.later(edit(target), interactionFull); after != interactionWindow {
			t.Errorf("try again in %v, want %v", after, interactionWindow)
		}
	}
	one.sends(edit(one.deferred("1"))) // another interaction
	advance(m, interactionWindow, one, two)
	two.sends(edit(target))
	two.wantCounted(map[string]float64{"edit sent": 3, "edit later": 1})
}

// fillChannel takes all permits of a channel.
func fillChannel(processes []*world, channel string) {
	for n := range channelMax {
		w := processes[n%len(processes)]
		w.sends(edit(w.deferred(channel)))
	}
}

// Processes share the messages of a channel. Answers wait, refusals are dropped, and callbacks are sent.
func TestThirtyMessagesForAChannel(t *testing.T) {
	t.Parallel()
	m, one, two := frozen(t)
	fillChannel([]*world{one, two}, "1")
	target := two.deferred("1")
	if after := two.later(edit(target), channelFull); after != channelWindow {
		t.Errorf("try again in %v, want %v", after, channelWindow)
	}
	if m.Exists(prefix + interactionKey(&target)) {
		t.Error("the interaction has lost a permit that no call used")
	}
	calls := one.fake.Totals().Calls()
	refusal := edit(target, "more")
	refusal.Refusal = true
	for range 3 {
		if next := two.sends(refusal); next != nil {
			t.Errorf("a refusal that was dropped is followed by %+v", next)
		}
	}
	refusal = &discord.Answer{Target: one.interaction(fakediscord.Slash("ping"), "1"), Way: discord.Callback, Response: message("no"), Refusal: true}
	one.sends(refusal)
	if n := one.fake.Totals().Calls(); n != calls {
		t.Errorf("%d calls for refusals, want none", n-calls)
	}
	one.wantCounted(map[string]float64{"edit sent": channelMax / 2, "callback dropped": 1})
	two.wantCounted(map[string]float64{"edit sent": channelMax / 2, "edit later": 1, "edit dropped": 3})

	callback := &discord.Answer{Target: one.interaction(fakediscord.Slash("ping"), "1"), Way: discord.Callback, Response: message("now")}
	one.sends(callback)
	one.sends(edit(one.deferred("2"))) // another channel
	advance(m, channelWindow, one, two)
	two.sends(edit(target))
}

// A flood of refusals costs no round trip of Redis while the channel is known to be full.
func TestFloodOfRefusals(t *testing.T) {
	t.Parallel()
	m, one, _ := frozen(t)
	fillChannel([]*world{one}, "1")
	refusal := edit(one.deferred("1"))
	refusal.Refusal = true
	one.sends(refusal)
	asked := m.CommandCount()
	for range 1_000 {
		one.sends(refusal)
	}
	if n := m.CommandCount() - asked; n != 0 {
		t.Errorf("Redis was asked %d times, want never", n)
	}
	one.wantCounted(map[string]float64{"edit sent": channelMax, "edit dropped": 1_001})
}

// Progress leaves room for the answer, and is not sent rather than late.
func TestProgress(t *testing.T) {
	t.Parallel()
	m, w, _ := frozen(t)
	shows := func(target discord.Target, want bool) {
		t.Helper()
		shown, err := w.Progress(t.Context(), &target, message("half").Data)
		if shown != want || err != nil {
			t.Errorf("shown %t, %v; want %t", shown, err, want)
		}
	}
	target := w.deferred("1")
	for range progressInteractionMax {
		shows(target, true)
	}
	shows(target, false)
	for range interactionMax - progressInteractionMax {
		w.sends(edit(target))
	}
	w.later(edit(target), interactionFull)

	early := w.interaction(fakediscord.Slash("ping"), "1")
	shows(early, false) // there is nothing to edit yet
	limited := w.deferred("1")
	w.fake.Fail(1, fakediscord.RateLimited(fakediscord.ScopeUser, time.Minute))
	shows(limited, false)
	advance(m, channelWindow, w)
	for range progressChannelMax {
		shows(w.deferred("1"), true)
	}
	shows(w.deferred("1"), false)
	w.sends(edit(w.deferred("1")))
	w.wantCounted(map[string]float64{
		"progress sent": progressInteractionMax + progressChannelMax, "progress dropped": 4, "edit sent": 3, "edit later": 1,
	})
}

// What a 429 says holds for the interaction, the channel or all, and for other processes too.
func TestLimitedByDiscord(t *testing.T) {
	t.Parallel()
	const after = 10 * time.Minute
	for _, tt := range []struct {
		scope  string
		reason string
		// whether the same interaction waits, in each process; another one of the channel; one of another channel
		same, channel, other [2]bool
	}{
		{fakediscord.ScopeUser, "this interaction", [2]bool{true, false}, [2]bool{false, false}, [2]bool{false, false}},
		{fakediscord.ScopeShared, "this channel", [2]bool{true, true}, [2]bool{true, true}, [2]bool{false, false}},
		{fakediscord.ScopeGlobal, "this address", [2]bool{true, true}, [2]bool{true, true}, [2]bool{true, true}},
	} {
		testserver.BothRedises(t, func(t *testing.T, addr string) {
			one := newWorld(t, addr)
			processes := [2]*world{one, one.process(addr)}
			same, channel, other := one.deferred("1"), one.deferred("1"), one.deferred("2")
			one.fake.Fail(1, fakediscord.RateLimited(tt.scope, after))
			if got := one.later(edit(same), tt.reason); got != after {
				t.Errorf("%s: try again in %v, want %v", tt.scope, got, after)
			}
			for n, w := range processes {
				for _, c := range []struct {
					target discord.Target
					waits  bool
				}{{same, tt.same[n]}, {channel, tt.channel[n]}, {other, tt.other[n]}} {
					if !c.waits {
						w.sends(edit(c.target))
					} else if got := w.later(edit(c.target), "Discord limits"); got > after || got < after-testserver.Patience {
						t.Errorf("%s: try again in %v, want about %v", tt.scope, got, after)
					}
				}
			}
			invalid := map[bool]int{true: 0, false: 1}[tt.scope == fakediscord.ScopeShared]
			totals := one.fake.Totals()
			if totals.Limited != 1 || totals.Invalid != invalid {
				t.Errorf("%s: %d calls limited, %d invalid; want 1, %d", tt.scope, totals.Limited, totals.Invalid, invalid)
			}
		})
	}
}

// When the time that a 429 has named has passed, calls are made again.
func TestLimitEnds(t *testing.T) {
	t.Parallel()
	testserver.BothRedises(t, func(t *testing.T, addr string) {
		one := newWorld(t, addr)
		two := one.process(addr)
		for _, scope := range []string{fakediscord.ScopeUser, fakediscord.ScopeShared, fakediscord.ScopeGlobal} {
			target := one.deferred("1")
			one.fake.Fail(1, fakediscord.RateLimited(scope, 10*time.Millisecond))
			one.later(edit(target), "Discord limits")
			for _, w := range []*world{one, two} {
				testserver.Succeeds(t, "calls are made again", func() error {
					_, err := w.Send(t.Context(), edit(target))
					return err
				})
			}
		}
	})
}

// After too many invalid calls none is made, by any process, until they have left the window.
func TestTooManyInvalidCalls(t *testing.T) {
	t.Parallel()
	m, one, two := frozen(t)
	ids := make([]string, invalidMax-1)
	for n := range ids {
		ids[n] = fmt.Sprint(n)
	}
	if _, err := one.guards.limits.Allow(t.Context(), invalidKey, invalidLimit(), ids...); err != nil {
		t.Fatal(err)
	}
	two.sends(edit(two.deferred("1")))
	if got := two.m.invalidNow(); got != invalidMax-1 {
		t.Errorf("%v invalid calls, want %d", got, invalidMax-1)
	}
	target := one.deferred("1")
	one.fake.Fail(1, fakediscord.Status(403))
	if _, err := one.Send(t.Context(), edit(target)); err == nil {
		t.Error("a 403 is no error")
	}
	calls := one.fake.Totals().Calls()
	callback := one.interaction(fakediscord.Slash("ping"), "1")
	for _, w := range []*world{one, two} {
		for range 2 {
			w.later(&discord.Answer{Target: callback, Way: discord.Callback, Response: message("x")}, "invalid")
		}
		if got := w.m.invalidNow(); got != invalidMax {
			t.Errorf("%v invalid calls, want %d", got, invalidMax)
		}
		if n := w.log.Count("level=ERROR"); n != 1 {
			t.Errorf("logged %d times, want once:\n%s", n, w.log)
		}
	}
	if n := one.fake.Totals().Calls(); n != calls {
		t.Errorf("%d calls, want none", n-calls)
	}
	advance(m, invalidWindow, one, two)
	two.sends(edit(two.deferred("1")))
	if n := two.log.Count("called again"); n != 1 || two.m.invalidNow() != 0 {
		t.Errorf("logged %d times, %v invalid; want once, 0", n, two.m.invalidNow())
	}
}

// While Redis is away, a process goes by what it knows itself.
func TestRedisAway(t *testing.T) {
	t.Parallel()
	server := testserver.Redis(t)
	w := newWorld(t, server.Addr())
	w = w.processWith(server.Client(t), redishealth.Options{Failures: 1})
	target := w.deferred("1")
	server.Kill()
	began, admitted := time.Now(), 0
	for range 100 {
		held, err := w.guards.take(t.Context(), &target, answers(discord.Edit, false))
		if err != nil {
			t.Fatal(err)
		}
		if held == nil {
			admitted++
		}
	}
	if windows := int(time.Since(began)/interactionWindow) + 1; admitted < interactionMax || admitted > windows*interactionMax {
		t.Errorf("%d calls in %d windows, want %d in each at most", admitted, windows, interactionMax)
	}
	limited, other := w.deferred("2"), w.deferred("3")
	w.fake.Fail(1, fakediscord.RateLimited(fakediscord.ScopeGlobal, time.Hour))
	w.later(edit(limited), "address")
	w.later(edit(other), "all calls")
	if strings.Contains(w.log.String(), target.Token) {
		t.Error("the log has the token")
	}
}

// A hold is never shortened, ends by itself, and the newest are kept.
func TestHolds(t *testing.T) {
	t.Parallel()
	h, now := newHolds(), time.Now()
	h.add("a", now.Add(time.Hour))
	h.add("a", now.Add(time.Minute)) // it is held back for longer already
	h.add("b", now.Add(-time.Second))
	for _, tt := range []struct {
		key  string
		at   time.Duration
		want time.Duration
	}{{"a", 0, time.Hour}, {"a", 59 * time.Minute, time.Minute}, {"b", 0, 0}, {"c", 0, 0}, {"a", time.Hour, 0}, {"a", 0, 0}} {
		if got := h.left(tt.key, now.Add(tt.at)); got != tt.want {
			t.Errorf("%s at %v: %v, want %v", tt.key, tt.at, got, tt.want)
		}
	}
	for n := range 2 * maxHolds {
		h.add(fmt.Sprint(n), now.Add(time.Hour))
	}
	if n := h.until.Len(); n != maxHolds {
		t.Errorf("%d keys, want %d", n, maxHolds)
	}
}
