package pipeline

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go/jetstream"

	"arrakis/loadtest/testserver"
	"arrakis/pipeline/contract"
	"arrakis/tenant"
	"arrakis/tenant/store"
)

func TestCommandTravels(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.handlers.Command("stats", func(_ context.Context, m *Message) (any, error) {
		return map[string]any{"community": m.Community, "tier": m.Tenant.Tier, "attempt": m.Attempt, "request": m.RequestID}, nil
	})
	b.start()
	o := b.outcome(b.publish("commands.interaction", command("c1", "stats", "e1"), contract.HeaderRequestID, "r1"))
	want := contract.Outcome{
		EventID: "e1", Community: "c1", Tier: "free", Status: contract.StatusOK,
		Result:    json.RawMessage(`{"attempt":1,"community":"c1","request":"r1","tier":"free"}`),
		RateLimit: &contract.RateLimit{Action: "command", Limit: 10, Remaining: 9, ResetMS: 60_000},
	}
	if diff := cmp.Diff(want, o); diff != "" {
		t.Errorf("outcome (-want +got)\n%s", diff)
	}
	testserver.Eventually(b.t, "the message is acknowledged", func() bool { return b.left(contract.StreamCommands, contract.ConsumerCommand) == 0 })
}

func TestLimitIsToldAndHolds(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.handlers.Command("ping", func(context.Context, *Message) (any, error) { return "pong", nil })
	b.start()
	for i := range 12 {
		o := b.outcome(b.publish("commands.interaction", command("c1", "ping", fmt.Sprintf("e%d", i))))
		if i < 10 {
			if o.Status != contract.StatusOK || o.RateLimit.Remaining != int64(9-i) {
				t.Errorf("message %d: %+v %+v", i, o, o.RateLimit)
			}
			continue
		}
		if o.Status != contract.StatusRateLimited || o.Error.Code != 429 || o.RateLimit.RetryAfterMS < 1 || o.RateLimit.RetryAfterMS > 60_000 {
			t.Errorf("message %d: %+v %+v", i, o, o.RateLimit)
		}
	}
	// Charged once: what was admitted is admitted again.
	if o := b.outcome(b.publish("commands.interaction", command("c1", "ping", "e0"), contract.HeaderReplay, "1:1")); o.Status != contract.StatusOK {
		t.Errorf("a replay of an admitted message: %+v", o)
	}
}

func TestGuildsOfOneCommunityShareItsLimit(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.handlers.Command("ping", func(_ context.Context, m *Message) (any, error) { return m.Community, nil })
	for _, guild := range []string{"guild-1", "guild-2", "guild-3"} {
		if _, _, err := b.store.Put(t.Context(), guild, tenant.Config{CommunityID: "all", Tier: tenant.Free}, store.PutOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	b.start()
	admitted := 0
	for i := range 30 {
		guild := []string{"guild-1", "guild-2", "guild-3"}[i%3]
		o := b.outcome(b.publish("commands.interaction", command(guild, "ping", fmt.Sprintf("e%d", i))))
		if o.Community != "all" {
			t.Errorf("community %q, want all", o.Community)
		}
		if o.Status == contract.StatusOK {
			admitted++
		}
	}
	if admitted != 10 {
		t.Errorf("%d admitted, want 10", admitted)
	}
}

func TestRetryThenDeadLetter(t *testing.T) {
	t.Parallel()
	b := setup(t)
	var attempts atomic.Int64
	b.handlers.Command("flaky", func(_ context.Context, m *Message) (any, error) {
		if attempts.Add(1) < 2 {
			return nil, errors.New("not yet")
		}
		return m.Attempt, nil
	})
	b.handlers.Command("broken", func(context.Context, *Message) (any, error) { return nil, errors.New("never") })
	b.handlers.Command("panics", func(context.Context, *Message) (any, error) { panic("at the disco") })
	b.options = func(o *Options) { o.MaxAttempts = 2 }
	b.start()
	flaky := b.publish("commands.interaction", command("c1", "flaky", "e1"))
	broken := b.publish("commands.interaction", command("c1", "broken", "e2"))
	panics := b.publish("commands.interaction", command("c1", "panics", "e3"))
	if o := b.outcome(flaky); o.Status != contract.StatusOK || string(o.Result) != "2" || o.RateLimit.Remaining > 9 {
		t.Errorf("flaky: %+v, result %s", o, o.Result)
	}
	if o := b.outcome(broken); o.Status != contract.StatusError || o.Error.Code != 500 {
		t.Errorf("broken: %+v", o)
	}
	if o := b.outcome(panics); o.Status != contract.StatusError || strings.Contains(o.Error.Message, "disco") {
		t.Errorf("panics: %+v %+v", o, o.Error)
	}
	if n := b.deadLetters(contract.ReasonAttemptsExhausted); n != 1 {
		t.Errorf("%d dead letters of broken, want 1", n)
	}
	if n := b.deadLetters(contract.ReasonPanic); n != 1 {
		t.Errorf("%d dead letters of panics, want 1", n)
	}
	if used, err := b.rdb.ZCard(t.Context(), "ratelimit:c1:command").Result(); err != nil || used != 3 {
		t.Errorf("%d permits taken, want 3: a retry is not charged again (%v)", used, err)
	}
}

func TestExpiredCommandIsNotCharged(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.handlers.Command("ping", func(context.Context, *Message) (any, error) { return "pong", nil })
	const ttl = 100 * time.Millisecond
	b.options = func(o *Options) { o.CommandTTL = ttl }
	b.ensure()
	sub := b.publish("commands.interaction", command("c1", "ping", "e1"))
	stored := time.Now()
	testserver.Eventually(b.t, "the command is too old", func() bool { return time.Since(stored) > 5*ttl })
	b.start()
	o := b.outcome(sub)
	if o.Status != contract.StatusExpired || o.Error.Code != 410 || o.RateLimit != nil || o.Tier != "free" {
		t.Errorf("outcome %+v", o)
	}
	if b.redis.Exists("ratelimit:c1:command") {
		t.Error("an expired command was charged")
	}
}

func TestReadingUnknownCommunitiesWritesNothing(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.handlers.Event("guild.join", func(context.Context, *Message) (any, error) { return nil, nil })
	b.start()
	if o := b.outcome(b.publish("events.guild.join", testserver.Fixtures(t, "good")["guild-join.json"])); o.Status != contract.StatusOK {
		t.Fatalf("outcome %+v", o)
	}
	// The records of streams concern no community.
	keys := slices.DeleteFunc(b.redis.Keys(), func(key string) bool { return strings.HasPrefix(key, "arrakis:stream:") })
	if len(keys) != 0 {
		t.Errorf("Redis holds %v", keys)
	}
}

// TestInvariantIsolated checks I4: a slow handler of one community does not hold up another.
func TestInvariantIsolated(t *testing.T) {
	t.Parallel()
	b := setup(t)
	release := make(chan struct{})
	var began atomic.Int64
	b.handlers.Command("slow", func(ctx context.Context, _ *Message) (any, error) {
		began.Add(1)
		select {
		case <-release:
		case <-ctx.Done():
		}
		return nil, ctx.Err()
	})
	b.handlers.Command("ping", func(context.Context, *Message) (any, error) { return "pong", nil })
	b.options = func(o *Options) { o.HandlerConcurrency = 3 }
	for _, c := range []string{"noisy", "quiet"} {
		if _, _, err := b.store.Put(t.Context(), c, tenant.Config{Tier: tenant.Enterprise}, store.PutOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	b.start()
	for i := range 200 {
		b.publish("commands.interaction", command("noisy", "slow", fmt.Sprintf("n%d", i)))
	}
	testserver.Eventually(b.t, "the noisy community has all handlers that it may have", func() bool { return began.Load() == 2 })
	quiet := b.publish("commands.interaction", command("quiet", "ping", "q"))
	if o := b.outcome(quiet); o.Status != contract.StatusOK {
		t.Errorf("quiet: %+v", o)
	}
	if n := began.Load(); n != 2 {
		t.Errorf("%d handlers of the noisy community began, want 2", n)
	}
	close(release)
}

func TestLongHandlerKeepsItsMessage(t *testing.T) {
	t.Parallel()
	b := setup(t)
	var runs atomic.Int64
	release := make(chan struct{})
	b.handlers.Command("long", func(context.Context, *Message) (any, error) {
		runs.Add(1)
		<-release
		return nil, nil
	})
	// A consumer that was made with an ack wait far below the handler's time.
	const ackWait = 6 * time.Second
	s, err := b.js.CreateStream(t.Context(), jetstream.StreamConfig{
		Name: contract.StreamCommands, Subjects: []string{"commands.>"}, Retention: jetstream.WorkQueuePolicy, Storage: jetstream.MemoryStorage,
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.CreateConsumer(t.Context(), jetstream.ConsumerConfig{
		Durable: contract.ConsumerCommand, FilterSubject: "commands.>", AckPolicy: jetstream.AckExplicitPolicy, AckWait: ackWait,
	}); err != nil {
		t.Fatal(err)
	}
	b.start()
	sub := b.publish("commands.interaction", command("c1", "long", "e1"))
	began := time.Now()
	testserver.Eventually(b.t, "more than an ack wait has passed", func() bool { return time.Since(began) > ackWait*3/2 })
	close(release)
	if o := b.outcome(sub); o.Status != contract.StatusOK {
		t.Errorf("outcome %+v", o)
	}
	if n := runs.Load(); n != 1 {
		t.Errorf("the handler ran %d times: the message was delivered again meanwhile", n)
	}
}
