package pipeline

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"arrakis/loadtest/testserver"
	"arrakis/pipeline/contract"
	"arrakis/tenant"
)

// hanging is a worker with two handlers at a time, which hang until release is called. Communities have the tier that
// their name begins with.
type hanging struct {
	*bundle
	p       *Pipeline
	handled atomic.Int64
	release func()
}

func startHanging(t *testing.T, age time.Duration) *hanging {
	t.Helper()
	b := &hanging{bundle: setup(t)}
	hang, release := context.WithCancel(context.Background())
	b.release = release
	b.handlers.Command("work", func(context.Context, *Message) (any, error) {
		<-hang.Done()
		b.handled.Add(1)
		return "done", nil
	})
	b.options = func(o *Options) { o.HandlerConcurrency, o.OverloadAge = 2, age }
	for _, tier := range []tenant.Tier{tenant.Pro, tenant.Enterprise} {
		for i := range 10 {
			if _, _, err := b.store.UpgradeTier(t.Context(), fmt.Sprintf("%s%d", tier, i), tier); err != nil {
				t.Fatal(err)
			}
		}
	}
	b.p, _ = b.start()
	t.Cleanup(release) // before the worker stops
	return b
}

// work is a command of a community whose handler hangs. It has the community's name as its event ID.
func work(community string) []byte { return command(community, "work", community) }

// send stores a command that nobody waits for.
func (b *hanging) send(community string) {
	b.t.Helper()
	if _, err := b.js.Publish(b.t.Context(), "commands.interaction", work(community)); err != nil {
		b.t.Fatal(err)
	}
}

// ask stores a command whose sender waits.
func (b *hanging) ask(community string) *nats.Subscription {
	b.t.Helper()
	return b.publish("commands.interaction", work(community))
}

func (b *hanging) level() int { return int(b.p.limit.overload.level.Load()) }

// TestShedByWorth: while many communities wait, each within its due, new commands of the free tier are refused, and
// those of pro and enterprise are still handled. Nothing is charged for what is refused. What nobody waits for is kept.
// It ends by itself.
func TestShedByWorth(t *testing.T) {
	t.Parallel()
	b := startHanging(t, 3*time.Second)
	const each = 5
	for i := range each {
		for _, tier := range tiersByWorth {
			b.send(fmt.Sprintf("%s%d", tier, i))
		}
	}
	testserver.Eventually(t, "the level rises", func() bool { return b.level() > 0 })
	// The level rises again no sooner than 6 s later, and reaches enterprise no sooner than 12 s later.
	refused, pro, enterprise := b.ask("free8"), b.ask("pro8"), b.ask("enterprise8")
	b.send("free9")
	if o := b.outcome(refused); o.Status != contract.StatusError || o.Error.Code != 503 || o.Error.RetryAfterMS < 3_000 ||
		o.RateLimit != nil || o.Tier != "free" {
		t.Errorf("a free command: %+v, %+v, %+v", o, o.Error, o.RateLimit)
	}
	testserver.Eventually(t, "the others wait for their turn", func() bool {
		waiting, running := b.p.admitted.depth()
		return waiting+running == 3*each+3
	})
	b.release()
	for _, sub := range []*nats.Subscription{pro, enterprise} {
		if o := b.outcome(sub); o.Status != contract.StatusOK {
			t.Errorf("a command of %s: %+v, %+v", o.Community, o, o.Error)
		}
	}
	testserver.Eventually(t, "all that was not refused is handled", func() bool { return b.handled.Load() == 3*each+3 })
	if b.redis.Exists("ratelimit:free8:command") {
		t.Error("a refused command was charged")
	}
	if !b.redis.Exists("ratelimit:free9:command") {
		t.Error("a command that nobody waits for was not charged")
	}
	if n := testutil.ToFloat64(b.p.limit.overload.shed[0]); n != 1 {
		t.Errorf("%v commands of the free tier are counted as refused, want 1", n)
	}
	testserver.Eventually(t, "the level falls", func() bool { return b.level() == 0 })
	if o := b.outcome(b.ask("free8")); o.Status != contract.StatusOK {
		t.Errorf("after the overload: %+v, %+v", o, o.Error)
	}
}

// TestEnterpriseIsShedLast: while nothing gets better, the tiers are refused one after the other.
func TestEnterpriseIsShedLast(t *testing.T) {
	t.Parallel()
	b := startHanging(t, 200*time.Millisecond)
	for i := range 5 {
		b.send(fmt.Sprintf("free%d", i))
		b.send(fmt.Sprintf("enterprise%d", i))
	}
	for level, tier := range tiersByWorth {
		testserver.Eventually(t, "the level rises", func() bool { return b.level() > level })
		if o := b.outcome(b.ask(string(tier) + "9")); o.Error == nil || o.Error.Code != 503 || o.Tier != string(tier) {
			t.Errorf("%s at level %d: %+v", tier, level+1, o)
		}
	}
}

// TestNeverShed: with an age of 0 nothing is refused.
func TestNeverShed(t *testing.T) {
	t.Parallel()
	b := startHanging(t, 0)
	for i := range 10 {
		b.send(fmt.Sprintf("free%d", i))
	}
	began := time.Now()
	testserver.Eventually(t, "three intervals pass", func() bool { return time.Since(began) > 3*overloadInterval })
	sub := b.ask("free10")
	testserver.Eventually(t, "it waits for its turn", func() bool { waiting, _ := b.p.admitted.depth(); return waiting == 9 })
	b.release()
	if o := b.outcome(sub); o.Status != contract.StatusOK {
		t.Errorf("%+v, %+v", o, o.Error)
	}
}

// TestFloodIsNotShed: one community over its due, whose messages wait for long, is no overload, whatever its tier.
func TestFloodIsNotShed(t *testing.T) {
	t.Parallel()
	b := setup(t)
	if _, _, err := b.store.UpgradeTier(t.Context(), "flood", tenant.Enterprise); err != nil {
		t.Fatal(err)
	}
	b.handlers.Command("work", func(context.Context, *Message) (any, error) { <-time.After(20 * time.Millisecond); return nil, nil })
	b.options = func(o *Options) { o.HandlerConcurrency, o.OverloadAge = 2, 2*time.Second }
	p, _ := b.start()
	for i := range 250 {
		if _, err := b.js.PublishAsync("commands.interaction", command("flood", "work", fmt.Sprint("e", i)), patient); err != nil {
			t.Fatal(err)
		}
	}
	for quiet := 0; b.stored(contract.StreamCommands)+b.stored(contract.StreamOverflow) > 0; quiet++ {
		if o := b.outcome(b.publish("commands.interaction", command(fmt.Sprint("quiet", quiet), "work", "e"))); o.Status != contract.StatusOK {
			t.Fatalf("a quiet community: %+v, %+v", o, o.Error)
		}
		if level := p.limit.overload.level.Load(); level != 0 {
			t.Fatalf("level %d", level)
		}
	}
}
