package store_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"

	"arrakis/loadtest/testserver"
	"arrakis/tenant"
	"arrakis/tenant/store"
)

// writes are all kinds of writes, each with the change that it announces.
var writes = []struct {
	member string
	write  func(ctx context.Context, s *store.Store) error
}{
	{"tenant_config:a", func(ctx context.Context, s *store.Store) error {
		_, _, err := s.Put(ctx, "a", tenant.Config{Tier: tenant.Pro}, store.PutOptions{})
		return err
	}},
	{"tenant_config:a", func(ctx context.Context, s *store.Store) error {
		_, _, err := s.UpgradeTier(ctx, "a", tenant.Enterprise)
		return err
	}},
	{"tenant_config:a", func(ctx context.Context, s *store.Store) error { return s.Delete(ctx, "a", "") }},
	{"account_config:acme", func(ctx context.Context, s *store.Store) error {
		_, _, err := s.PutAccount(ctx, "acme", tenant.Account{Tier: tenant.Pro}, store.PutOptions{})
		return err
	}},
	{"account_config:acme", func(ctx context.Context, s *store.Store) error { return s.DeleteAccount(ctx, "acme", "") }},
	{"feature_flag:f", func(ctx context.Context, s *store.Store) error {
		_, _, err := s.PutFlag(ctx, tenant.Flag{ID: "f"}, store.PutOptions{})
		return err
	}},
	{"feature_flag:f", func(ctx context.Context, s *store.Store) error { return s.DeleteFlag(ctx, "f", "") }},
	{"global_config:", func(ctx context.Context, s *store.Store) error {
		_, err := s.PutTiers(ctx, tenant.Tiers{}, store.PutOptions{})
		return err
	}},
	{"tenant_config:b:c", func(ctx context.Context, s *store.Store) error { return s.NotifyReload(ctx, "b:c") }},
	{"global_config:", func(ctx context.Context, s *store.Store) error { return s.NotifyReload(ctx, "") }},
	{"limit_reset:b:c", func(ctx context.Context, s *store.Store) error { return s.NotifyReset(ctx, "b:c") }},
	{"limit_reset:@acme:command", func(ctx context.Context, s *store.Store) error {
		return s.NotifyReset(ctx, "@acme", tenant.Command)
	}},
	{"limit_reset:b:command", func(ctx context.Context, s *store.Store) error {
		return s.NotifyReset(ctx, "b", tenant.Command)
	}},
}

// Every write makes the document, the change log entry and the event. A later change of the same target has a later
// time. F16: only of the same target, because writes of one millisecond push each other's targets ahead.
func TestWriteAnnounces(t *testing.T) {
	t.Parallel()
	everyHome(t, func(t *testing.T, h home) {
		s, _ := h.store()
		hear := subscribe(t, h.rdb)
		last := map[string]int64{}
		for _, w := range writes {
			if err := w.write(t.Context(), s); err != nil {
				t.Fatalf("%s: %v", w.member, err)
			}
			ev := hear()
			if ev.Member() != w.member || ev.Source != "test" {
				t.Errorf("event %+v, want one of %s by test", ev, w.member)
			}
			score := changes(t.Context(), t, h.rdb)[w.member]
			if score != ev.At.UnixMilli() || score <= last[w.member] {
				t.Errorf("%s: score %d, event at %d, its change before at %d", w.member, score, ev.At.UnixMilli(), last[w.member])
			}
			if age := time.Since(ev.At); age < -time.Minute || age > time.Minute {
				t.Errorf("%s: at %v, not now", w.member, ev.At)
			}
			last[w.member] = score
		}
	})
}

// subscribe listens to the events. The function it returns waits for the next one.
func subscribe(t *testing.T, rdb redis.UniversalClient) (hear func() tenant.Event) {
	t.Helper()
	pubsub := rdb.Subscribe(t.Context(), "arrakis:config:reload")
	t.Cleanup(func() { _ = pubsub.Close() })
	if _, err := pubsub.Receive(t.Context()); err != nil {
		t.Fatal(err)
	}
	return func() tenant.Event {
		t.Helper()
		msg, err := pubsub.ReceiveMessage(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		ev, err := tenant.ParseEvent([]byte(msg.Payload))
		if err != nil {
			t.Fatalf("event %s: %v", msg.Payload, err)
		}
		return ev
	}
}

// changes reads the change log: member to score.
func changes(ctx context.Context, t *testing.T, rdb redis.UniversalClient) map[string]int64 {
	t.Helper()
	entries, err := rdb.ZRangeWithScores(ctx, "arrakis:config:changes", 0, -1).Result()
	if err != nil {
		t.Fatal(err)
	}
	got := make(map[string]int64)
	for _, z := range entries {
		got[z.Member.(string)] = int64(z.Score)
	}
	return got
}

// A write that is refused announces nothing.
func TestWriteRefusedAnnouncesNothing(t *testing.T) {
	t.Parallel()
	everyHome(t, func(t *testing.T, h home) {
		s, _ := h.store()
		_, _, err := s.Update(t.Context(), "a", func(*tenant.Config) error { return context.Canceled })
		if !errors.Is(err, context.Canceled) {
			t.Errorf("Update = %v, want the error of edit", err)
		}
		if got := changes(t.Context(), t, h.rdb); len(got) != 0 {
			t.Errorf("change log %v, want none", got)
		}
	})
}

// A score stands for one change, however fast one follows another.
func TestChangeScoresGrow(t *testing.T) {
	t.Parallel()
	testserver.EveryRedis(t, func(t *testing.T, rdb redis.UniversalClient) {
		s, _ := newStore(rdb)
		var last int64
		for range 20 {
			if err := s.NotifyReload(t.Context(), "a"); err != nil {
				t.Fatal(err)
			}
			score := changes(t.Context(), t, rdb)["tenant_config:a"]
			if score <= last {
				t.Fatalf("score %d after %d", score, last)
			}
			last = score
		}
	})
}

func TestChangeLogTrimmed(t *testing.T) {
	t.Parallel()
	testserver.EveryRedis(t, func(t *testing.T, rdb redis.UniversalClient) {
		s, _ := newStore(rdb)
		now := time.Now()
		for member, age := range map[string]time.Duration{"old": 25 * time.Hour, "young": 23 * time.Hour} {
			z := redis.Z{Member: "tenant_config:" + member, Score: float64(now.Add(-age).UnixMilli())}
			if err := rdb.ZAdd(t.Context(), "arrakis:config:changes", z).Err(); err != nil {
				t.Fatal(err)
			}
		}
		if err := s.NotifyReload(t.Context(), "new"); err != nil {
			t.Fatal(err)
		}
		got := changes(t.Context(), t, rdb)
		if _, ok := got["tenant_config:old"]; ok || len(got) != 2 {
			t.Errorf("change log %v, want young and new", got)
		}
	})
}

// A community whose ID ends like an action is reset as itself, not as a shorter one.
func TestNotifyResetOfMisleadingID(t *testing.T) {
	t.Parallel()
	rdb := testserver.ConnectRedis(t, testserver.Miniredis(t).Addr())
	s, _ := newStore(rdb)
	if err := s.NotifyReset(t.Context(), "a:command"); err != nil {
		t.Fatal(err)
	}
	var got []tenant.Action
	for member := range changes(t.Context(), t, rdb) {
		_, target, _ := strings.Cut(member, ":")
		community, actions, _ := tenant.Event{Type: tenant.LimitReset, TargetID: target}.Reset()
		if community != "a:command" {
			t.Errorf("%s resets %q", member, community)
		}
		got = append(got, actions...)
	}
	slices.Sort(got)
	if diff := cmp.Diff([]tenant.Action{0, 1, 2, 3}, got); diff != "" {
		t.Errorf("actions reset (-want +got):\n%s", diff)
	}
	if err := s.NotifyReset(t.Context(), "a", tenant.NumActions); err == nil {
		t.Error("a reset of no action is accepted")
	}
}
