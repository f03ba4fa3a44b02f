package store_test

import (
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/go-cmp/cmp"

	"arrakis/loadtest/testserver"
	"arrakis/tenant"
	"arrakis/tenant/store"
)

func TestPut(t *testing.T) {
	t.Parallel()
	everyHome(t, func(t *testing.T, h home) {
		s, _ := h.store()
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

func TestPutRefuses(t *testing.T) {
	t.Parallel()
	s, _ := newStore(testserver.ConnectRedis(t, testserver.Miniredis(t).Addr()))
	var field *tenant.FieldError
	if _, _, err := s.Put(t.Context(), "a*", tenant.Config{Tier: tenant.Pro}, store.PutOptions{}); !errors.As(err, &field) {
		t.Errorf("Put under a bad ID = %v, want a FieldError", err)
	}
	if _, _, err := s.Put(t.Context(), "a", tenant.Config{Tier: "gold"}, store.PutOptions{}); !errors.As(err, &field) || field.Field != "tier" {
		t.Errorf("Put of a bad tier = %v, want a FieldError of tier", err)
	}
}

// A write drops the boosts that have ended by the clock of its home, and keeps all other boosts, with the members of other writers.
func TestWriteDropsEndedBoosts(t *testing.T) {
	t.Parallel()
	everyHome(t, func(t *testing.T, h home) {
		s, _ := h.store()
		const boosts = `{"tier":"free","boosts":{"commandsPerMinute":{"add":5,"until":"9000-01-01T00:00:00Z","x":1},` +
			`"syncRequestsPerDay":{"add":5,"until":"2001-01-01T00:00:00Z","x":1}}}`
		h.setTenant(t, "a", boosts)
		next := tenant.Config{Tier: tenant.Pro}
		lasting := tenant.BoostOverride{Add: 7, Until: time.Date(9000, 1, 1, 0, 0, 0, 0, time.UTC)}
		ended := tenant.BoostOverride{Add: 7, Until: time.Date(2001, 1, 1, 0, 0, 0, 0, time.UTC)}
		next.Boosts = &tenant.BoostOverrides{CommandsPerMinute: lasting, EligibilityChecksPerHour: ended}
		got, _, err := s.Put(t.Context(), "a", next, store.PutOptions{})
		if err != nil {
			t.Fatal(err)
		}
		lasting.Unknown = jsontext.Value(`{"x":1}`)
		if diff := cmp.Diff(&tenant.BoostOverrides{CommandsPerMinute: lasting}, got.Boosts); diff != "" {
			t.Errorf("boosts (-want +got):\n%s", diff)
		}
	})
}

// Eight writers that update one tenant lose no update.
func TestUpdateConcurrently(t *testing.T) {
	t.Parallel()
	everyHome(t, func(t *testing.T, h home) {
		const writers, updates = 8, 5
		var wg sync.WaitGroup
		for range writers {
			wg.Go(func() {
				s, _ := h.store()
				for range updates {
					if _, _, err := s.Update(t.Context(), "a", countUp); err != nil {
						t.Errorf("Update: %v", err)
					}
				}
			})
		}
		wg.Wait()
		s, _ := h.store()
		if got := h.load(t, s, "a").Max[tenant.Command]; got != writers*updates {
			t.Errorf("after %d updates the count is %d", writers*updates, got)
		}
	})
}

// countUp makes the limit of commands one more.
func countUp(c *tenant.Config) error {
	n := int64(1)
	if was := c.RateLimits.CommandsPerMinute; was != nil {
		n += *was
	}
	c.RateLimits.CommandsPerMinute = &n
	return nil
}

func TestUpdateOfBadDocument(t *testing.T) {
	t.Parallel()
	everyHome(t, func(t *testing.T, h home) {
		s, _ := h.store()
		h.setTenant(t, "a", `{"tier":"gold"}`)
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
	})
}

func TestUpgradeTier(t *testing.T) {
	t.Parallel()
	everyHome(t, func(t *testing.T, h home) {
		s, _ := h.store()
		h.setTenant(t, "a", `{"tier":"free","features":{"prioritySupport":true,"theirs":1},"rateLimits":{"commandsPerMinute":3}}`)
		upgrades := []struct {
			tier tenant.Tier
			opts []store.UpgradeOption
			want tenant.TierDefaults
		}{
			{tenant.Pro, []store.UpgradeOption{store.KeepOverrides}, tenant.TierDefaults{
				Features: tenant.CustomBranding | tenant.AdvancedAnalytics | tenant.PrioritySupport,
				Max:      [tenant.NumActions]int64{3, 1000, 10, -1}, Weight: 4, // doubled by prioritySupport
			}},
			{tenant.Enterprise, nil, new(tenant.Tiers).Of(tenant.Enterprise)},
			{tenant.Free, nil, new(tenant.Tiers).Of(tenant.Free)},
		}
		for _, u := range upgrades {
			if _, _, err := s.UpgradeTier(t.Context(), "a", u.tier, u.opts...); err != nil {
				t.Fatal(err)
			}
			got := h.load(t, s, "a")
			if diff := cmp.Diff(u.want, tenant.TierDefaults{Features: got.Features, Max: got.Max, Weight: got.Weight, MaxDelayed: u.want.MaxDelayed}); diff != "" || got.Tier != u.tier {
				t.Errorf("after the change to %s (-want +got):\n%s", u.tier, diff)
			}
		}
		if text := h.rdb.Get(t.Context(), "tenant:config:a").Val(); !strings.Contains(text, `"theirs":1`) {
			t.Errorf("the member of another writer is gone: %s", text)
		}
		if _, _, err := s.UpgradeTier(t.Context(), "a", "gold"); err == nil {
			t.Error("the tier gold is accepted")
		}
	})
}

// Members of other writers survive updates and replacements by a store.
func TestUnknownMembersSurvive(t *testing.T) {
	t.Parallel()
	everyHome(t, func(t *testing.T, h home) {
		s, _ := h.store()
		h.setTenant(t, "a", `{"tier":"free","billing":{"plan":[1,2.50]},"rateLimits":{"perDay":9},"note":"ünï\"code"}`)
		check := func() {
			t.Helper()
			h.settle(t)
			text := h.rdb.Get(t.Context(), "tenant:config:a").Val()
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
