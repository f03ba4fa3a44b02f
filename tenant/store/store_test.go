package store_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"

	"arrakis/tenant"
	"arrakis/tenant/store"
)

func TestLoad(t *testing.T) {
	t.Parallel()
	for _, b := range backends {
		t.Run(b.name, func(t *testing.T) {
			t.Parallel()
			rdb := b.open(t)
			s, log := newStore(rdb)
			set(t, rdb, "tenant:config:guild", `{"communityId":"comm","guildId":"guild","tier":"pro","rateLimits":{"commandsPerMinute":7},"features":{"customBranding":false}}`)
			set(t, rdb, "tenant:config:bad", `{"tier":"gold"}`)
			if err := rdb.RPush(t.Context(), "tenant:config:list", "x").Err(); err != nil {
				t.Fatal(err)
			}
			got, err := s.Load(t.Context(), []string{"guild", "nobody", "bad", "list"})
			if err != nil {
				t.Fatal(err)
			}
			free := new(tenant.Tiers).Of(tenant.Free)
			want := []*tenant.Tenant{
				{
					ID: "comm", GuildID: "guild", Tier: tenant.Pro, Stored: true,
					Max: [tenant.NumActions]int64{7, 1000, 10, -1}, Features: tenant.AdvancedAnalytics,
				},
				{ID: "nobody", Tier: tenant.Free, Max: free.Max},
				{ID: "bad", Tier: tenant.Free, Max: free.Max},
				{ID: "list", Tier: tenant.Free, Max: free.Max},
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("Load (-want +got):\n%s", diff)
			}
			if n := strings.Count(log.String(), "level=ERROR"); n != 1 || !strings.Contains(log.String(), "tenant:config:bad") {
				t.Errorf("log has %d errors, want one that names the key:\n%s", n, log)
			}
			if n, err := rdb.Exists(t.Context(), "tenant:config:nobody", "arrakis:config:changes").Result(); err == nil && n != 0 {
				t.Error("loading wrote to Redis")
			}
			if got, err := s.Load(t.Context(), nil); err != nil || len(got) != 0 {
				t.Errorf("Load of nothing = %v, %v", got, err)
			}
		})
	}
}

// A config that goes bad is served as it was, and each bad content is logged
// once.
func TestLoadLastGood(t *testing.T) {
	t.Parallel()
	for _, b := range backends {
		t.Run(b.name, func(t *testing.T) {
			t.Parallel()
			rdb := b.open(t)
			s, log := newStore(rdb)
			key := "tenant:config:a"
			set(t, rdb, key, `{"tier":"enterprise"}`)
			load(t, s, "a")
			for _, bad := range []string{`{"tier":"free"`, `{"tier":"free","tier":"pro"}`, "", strings.Repeat(" ", tenant.MaxDocument+1)} {
				log.Reset()
				set(t, rdb, key, bad)
				for range 3 {
					if got := load(t, s, "a"); got.Tier != tenant.Enterprise {
						t.Errorf("with %.20q the tier is %s, want the last good one", bad, got.Tier)
					}
				}
				if n := strings.Count(log.String(), "level=ERROR"); n != 1 {
					t.Errorf("%.20q is logged %d times, want 1", bad, n)
				}
			}
			if err := rdb.Del(t.Context(), key).Err(); err != nil {
				t.Fatal(err)
			}
			if got := load(t, s, "a"); got.Tier != tenant.Free || got.Stored {
				t.Errorf("deleted: %+v, want the free default", got)
			}
		})
	}
}

func TestLoadRedisAway(t *testing.T) {
	t.Parallel()
	m := miniredis.RunT(t)
	s, _ := newStore(connect(t, false, m.Addr()))
	m.SetError("LOADING")
	if got, err := s.Load(t.Context(), []string{"a"}); err == nil {
		t.Errorf("Load = %v, want the error of Redis", got)
	}
}

func TestPut(t *testing.T) {
	t.Parallel()
	for _, b := range backends {
		t.Run(b.name, func(t *testing.T) {
			t.Parallel()
			rdb := b.open(t)
			s, _ := newStore(rdb)
			ctx := t.Context()
			if _, _, err := s.Get(ctx, "a"); !errors.Is(err, store.ErrNotFound) {
				t.Errorf("Get = %v, want ErrNotFound", err)
			}
			made, v1, err := s.Put(ctx, "a", tenant.Config{Tier: tenant.Pro}, store.PutOptions{IfNoneMatch: true})
			if err != nil {
				t.Fatal(err)
			}
			if made.CommunityID != "a" || made.CreatedAt.IsZero() || !made.UpdatedAt.Equal(made.CreatedAt) {
				t.Errorf("Put returns %+v", made)
			}
			got, v, err := s.Get(ctx, "a")
			if diff := cmp.Diff(made, got); diff != "" || v != v1 || err != nil {
				t.Errorf("Get = version %q, %v, want %q (-put +got):\n%s", v, err, v1, diff)
			}
			refused := []store.PutOptions{{IfNoneMatch: true}, {IfMatch: "0123"}}
			for _, opts := range refused {
				if _, _, err := s.Put(ctx, "a", tenant.Config{Tier: tenant.Free}, opts); !errors.Is(err, store.ErrConflict) {
					t.Errorf("Put with %+v = %v, want ErrConflict", opts, err)
				}
			}
			if _, _, err := s.Put(ctx, "gone", tenant.Config{Tier: tenant.Free}, store.PutOptions{IfMatch: v1}); !errors.Is(err, store.ErrConflict) {
				t.Errorf("Put of a version that is gone = %v, want ErrConflict", err)
			}
			again, v2, err := s.Put(ctx, "a", tenant.Config{Tier: tenant.Free}, store.PutOptions{IfMatch: v1})
			if err != nil || v2 == v1 || !again.CreatedAt.Equal(made.CreatedAt) {
				t.Errorf("Put with the version = %+v, %q, %v", again, v2, err)
			}
			if err := s.Delete(ctx, "a", v1); !errors.Is(err, store.ErrConflict) {
				t.Errorf("Delete of a version that is gone = %v, want ErrConflict", err)
			}
			if _, v, err := s.Get(ctx, "a"); v != v2 || err != nil {
				t.Errorf("a refused Delete leaves %q, %v, want %q", v, err, v2)
			}
			if err := s.Delete(ctx, "a", v2); err != nil {
				t.Error(err)
			}
			if err := s.Delete(ctx, "a", v2); !errors.Is(err, store.ErrConflict) {
				t.Errorf("second Delete of the version = %v, want ErrConflict", err)
			}
			if err := s.Delete(ctx, "a", ""); !errors.Is(err, store.ErrNotFound) {
				t.Errorf("Delete of nothing = %v, want ErrNotFound", err)
			}
		})
	}
}

func TestPutRefuses(t *testing.T) {
	t.Parallel()
	s, _ := newStore(connect(t, false, miniredis.RunT(t).Addr()))
	var field *tenant.FieldError
	if _, _, err := s.Put(t.Context(), "a*", tenant.Config{Tier: tenant.Pro}, store.PutOptions{}); !errors.As(err, &field) {
		t.Errorf("Put under a bad ID = %v, want a FieldError", err)
	}
	if _, _, err := s.Put(t.Context(), "a", tenant.Config{Tier: "gold"}, store.PutOptions{}); !errors.As(err, &field) || field.Field != "tier" {
		t.Errorf("Put of a bad tier = %v, want a FieldError of tier", err)
	}
}

// Every write makes the document, the change log entry and the event.
func TestWriteAnnounces(t *testing.T) {
	writes := []struct {
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
		{"limit_reset:b:command", func(ctx context.Context, s *store.Store) error {
			return s.NotifyReset(ctx, "b", tenant.Command)
		}},
	}
	t.Parallel()
	for _, b := range backends {
		t.Run(b.name, func(t *testing.T) {
			t.Parallel()
			rdb := b.open(t)
			s, _ := newStore(rdb)
			pubsub := rdb.Subscribe(t.Context(), "arrakis:config:reload")
			defer func() { _ = pubsub.Close() }()
			if _, err := pubsub.Receive(t.Context()); err != nil {
				t.Fatal(err)
			}
			var last int64
			for _, w := range writes {
				if err := w.write(t.Context(), s); err != nil {
					t.Fatalf("%s: %v", w.member, err)
				}
				msg, err := pubsub.ReceiveMessage(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				ev, err := tenant.ParseEvent([]byte(msg.Payload))
				if err != nil {
					t.Fatalf("event %s: %v", msg.Payload, err)
				}
				if got := string(ev.Type) + ":" + ev.TargetID; got != w.member || ev.Source != "test" {
					t.Errorf("event %s, want one of %s by test", msg.Payload, w.member)
				}
				score := changes(t.Context(), t, rdb)[w.member]
				if score != ev.At.UnixMilli() || score < last {
					t.Errorf("%s: score %d, event at %d, the write before at %d", w.member, score, ev.At.UnixMilli(), last)
				}
				if age := time.Since(ev.At); age < -time.Minute || age > time.Minute {
					t.Errorf("%s: at %v, not now", w.member, ev.At)
				}
				last = min(score, ev.At.UnixMilli()) - 1
			}
		})
	}
}

// A write that is refused announces nothing.
func TestWriteRefusedAnnouncesNothing(t *testing.T) {
	t.Parallel()
	for _, b := range backends {
		t.Run(b.name, func(t *testing.T) {
			t.Parallel()
			rdb := b.open(t)
			s, _ := newStore(rdb)
			_, _, err := s.Update(t.Context(), "a", func(*tenant.Config) error { return context.Canceled })
			if !errors.Is(err, context.Canceled) {
				t.Errorf("Update = %v, want the error of edit", err)
			}
			if got := changes(t.Context(), t, rdb); len(got) != 0 {
				t.Errorf("change log %v, want none", got)
			}
		})
	}
}

// A score stands for one change, however fast one follows another.
func TestChangeScoresGrow(t *testing.T) {
	t.Parallel()
	for _, b := range backends {
		t.Run(b.name, func(t *testing.T) {
			t.Parallel()
			rdb := b.open(t)
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
}

func TestChangeLogTrimmed(t *testing.T) {
	t.Parallel()
	for _, b := range backends {
		t.Run(b.name, func(t *testing.T) {
			t.Parallel()
			rdb := b.open(t)
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
}

// Eight writers that update one tenant lose no update.
func TestUpdateConcurrently(t *testing.T) {
	t.Parallel()
	for _, b := range backends {
		t.Run(b.name, func(t *testing.T) {
			t.Parallel()
			rdb := b.open(t)
			const writers, updates = 8, 5
			var wg sync.WaitGroup
			for range writers {
				wg.Go(func() {
					s, _ := newStore(rdb)
					for range updates {
						_, _, err := s.Update(t.Context(), "a", func(c *tenant.Config) error {
							n := int64(1)
							if was := c.RateLimits.CommandsPerMinute; was != nil {
								n += *was
							}
							c.RateLimits.CommandsPerMinute = &n
							return nil
						})
						if err != nil {
							t.Errorf("Update: %v", err)
						}
					}
				})
			}
			wg.Wait()
			s, _ := newStore(rdb)
			if got := load(t, s, "a").Max[tenant.Command]; got != writers*updates {
				t.Errorf("after %d updates the count is %d", writers*updates, got)
			}
		})
	}
}

func TestUpdateOfBadDocument(t *testing.T) {
	t.Parallel()
	rdb := connect(t, false, miniredis.RunT(t).Addr())
	s, _ := newStore(rdb)
	set(t, rdb, "tenant:config:a", "[]")
	var stored *store.StoredError
	if _, _, err := s.UpgradeTier(t.Context(), "a", tenant.Pro); !errors.As(err, &stored) || stored.Key != "tenant:config:a" {
		t.Errorf("UpgradeTier = %v, want a StoredError that names the key", err)
	}
	_, v, err := s.Get(t.Context(), "a")
	if !errors.As(err, &stored) || v == "" {
		t.Errorf("Get = %q, %v, want a StoredError and the version", v, err)
	}
	if _, _, err := s.Put(t.Context(), "a", tenant.Config{Tier: tenant.Pro}, store.PutOptions{IfMatch: v}); err != nil {
		t.Errorf("Put, which repairs it: %v", err)
	}
}

func TestUpgradeTier(t *testing.T) {
	t.Parallel()
	for _, b := range backends {
		t.Run(b.name, func(t *testing.T) {
			t.Parallel()
			rdb := b.open(t)
			s, _ := newStore(rdb)
			set(t, rdb, "tenant:config:a", `{"tier":"free","features":{"prioritySupport":true,"theirs":1},"rateLimits":{"commandsPerMinute":3}}`)
			upgrades := []struct {
				tier tenant.Tier
				opts []store.UpgradeOption
				want tenant.TierDefaults
			}{
				{tenant.Pro, []store.UpgradeOption{store.KeepOverrides}, tenant.TierDefaults{
					Features: tenant.CustomBranding | tenant.AdvancedAnalytics | tenant.PrioritySupport,
					Max:      [tenant.NumActions]int64{3, 1000, 10, -1},
				}},
				{tenant.Enterprise, nil, new(tenant.Tiers).Of(tenant.Enterprise)},
				{tenant.Free, nil, new(tenant.Tiers).Of(tenant.Free)},
			}
			for _, u := range upgrades {
				if _, _, err := s.UpgradeTier(t.Context(), "a", u.tier, u.opts...); err != nil {
					t.Fatal(err)
				}
				got := load(t, s, "a")
				if diff := cmp.Diff(u.want, tenant.TierDefaults{Features: got.Features, Max: got.Max}); diff != "" || got.Tier != u.tier {
					t.Errorf("after the change to %s (-want +got):\n%s", u.tier, diff)
				}
			}
			if text := rdb.Get(t.Context(), "tenant:config:a").Val(); !strings.Contains(text, `"theirs":1`) {
				t.Errorf("the member of another writer is gone: %s", text)
			}
			if _, _, err := s.UpgradeTier(t.Context(), "a", "gold"); err == nil {
				t.Error("the tier gold is accepted")
			}
		})
	}
}

// Members of other writers survive updates and replacements by a store.
func TestUnknownMembersSurvive(t *testing.T) {
	t.Parallel()
	for _, b := range backends {
		t.Run(b.name, func(t *testing.T) {
			t.Parallel()
			rdb := b.open(t)
			s, _ := newStore(rdb)
			set(t, rdb, "tenant:config:a", `{"tier":"free","billing":{"plan":[1,2.50]},"rateLimits":{"perDay":9},"note":"ünï\"code"}`)
			check := func() {
				t.Helper()
				text := rdb.Get(t.Context(), "tenant:config:a").Val()
				for _, want := range []string{`"billing":{"plan":[1,2.50]}`, `"perDay":9`, `"note":"ünï\"code"`} {
					if !strings.Contains(text, want) {
						t.Errorf("%s is gone from %s", want, text)
					}
				}
			}
			if _, _, err := s.Update(t.Context(), "a", func(c *tenant.Config) error { return c.Merge([]byte(`{"tier":"pro"}`)) }); err != nil {
				t.Fatal(err)
			}
			check()
			if _, _, err := s.Put(t.Context(), "a", tenant.Config{Tier: tenant.Free}, store.PutOptions{}); err != nil {
				t.Fatal(err)
			}
			check()
		})
	}
}

func TestTiers(t *testing.T) {
	t.Parallel()
	for _, b := range backends {
		t.Run(b.name, func(t *testing.T) {
			t.Parallel()
			rdb := b.open(t)
			s, _ := newStore(rdb)
			other, _ := newStore(rdb)
			if err := other.RefreshTiers(t.Context()); err != nil {
				t.Fatalf("no document: %v", err)
			}
			c, err := tenant.ParseTiers([]byte(`{"free":{"rateLimits":{"commandsPerMinute":5},"features":{"customBranding":true}}}`))
			if err != nil {
				t.Fatal(err)
			}
			v, err := s.PutTiers(t.Context(), c, store.PutOptions{IfNoneMatch: true})
			if err != nil {
				t.Fatal(err)
			}
			if _, got, err := s.GetTiers(t.Context()); err != nil || got != v {
				t.Errorf("GetTiers = version %q, %v, want %q", got, err, v)
			}
			if err := other.RefreshTiers(t.Context()); err != nil {
				t.Fatal(err)
			}
			want := tenant.TierDefaults{Features: tenant.CustomBranding, Max: [tenant.NumActions]int64{5, 100, 1, -1}}
			for _, s := range []*store.Store{s, other} {
				got := load(t, s, "a")
				if diff := cmp.Diff(want, tenant.TierDefaults{Features: got.Features, Max: got.Max}); diff != "" {
					t.Errorf("free tenant (-want +got):\n%s", diff)
				}
			}
			set(t, rdb, "arrakis:tiers", `{"free":{"rateLimits":{"commandsPerMinute":-2}}}`)
			var stored *store.StoredError
			if err := other.RefreshTiers(t.Context()); !errors.As(err, &stored) {
				t.Errorf("RefreshTiers of a bad document = %v, want a StoredError", err)
			}
			if got := load(t, other, "a").Max[tenant.Command]; got != 5 {
				t.Errorf("after a bad document the limit is %d, want the last good 5", got)
			}
		})
	}
}

func TestList(t *testing.T) {
	t.Parallel()
	for _, b := range backends {
		t.Run(b.name, func(t *testing.T) {
			t.Parallel()
			rdb := b.open(t)
			s, _ := newStore(rdb)
			const tenants = 1000
			_, err := rdb.Pipelined(t.Context(), func(p redis.Pipeliner) error {
				for i := range tenants {
					p.Set(t.Context(), fmt.Sprintf("tenant:config:comm_%04d", i), `{"tier":"pro"}`, 0)
					p.Set(t.Context(), fmt.Sprintf("ratelimit:comm_%04d:command", i), "x", 0)
				}
				p.Set(t.Context(), "tenant:config:comm_0000", `nonsense`, 0)
				p.Set(t.Context(), "tenant:config:bad id", `{"tier":"pro"}`, 0)
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
			for _, limit := range []int{1, 7, 100, 0, 5000} {
				found := make(map[string]int)
				cursor, pages := "", 0
				for {
					page, err := s.List(t.Context(), store.ListOptions{Cursor: cursor, Limit: limit})
					if err != nil {
						t.Fatal(err)
					}
					most := limit
					switch limit {
					case 0:
						most = 100
					case 5000:
						most = store.MaxListLimit
					}
					if len(page.Entries) > most {
						t.Fatalf("a page of %d with limit %d", len(page.Entries), limit)
					}
					for _, e := range page.Entries {
						found[e.ID]++
						if (e.Err != nil) != (e.ID == "comm_0000") || e.Version == "" {
							t.Errorf("entry %+v", e)
						}
					}
					pages++
					if cursor = page.Cursor; cursor == "" {
						break
					}
				}
				if len(found) != tenants {
					t.Errorf("limit %d: %d tenants on %d pages, want %d", limit, len(found), pages, tenants)
				}
			}
			for _, bad := range []string{"x", "e30x", strings.Repeat("A", 5000), "eyJyIjpbIiJdfQ"} {
				if _, err := s.List(t.Context(), store.ListOptions{Cursor: bad}); !errors.Is(err, store.ErrCursor) {
					t.Errorf("cursor %.10q: %v, want ErrCursor", bad, err)
				}
			}
		})
	}
}

// A community whose ID ends like an action is reset as itself, not as a
// shorter one.
func TestNotifyResetOfMisleadingID(t *testing.T) {
	t.Parallel()
	rdb := connect(t, false, miniredis.RunT(t).Addr())
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
