package store_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"

	"arrakis/loadtest/testserver"
	"arrakis/tenant"
	"arrakis/tenant/store"
)

func TestLoad(t *testing.T) {
	t.Parallel()
	testserver.EveryRedis(t, func(t *testing.T, rdb redis.UniversalClient) {
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
				ID: "comm", GuildID: "guild", Tier: tenant.Pro, Weight: 2, Stored: true,
				Max: [tenant.NumActions]int64{7, 1000, 10, -1}, Features: tenant.AdvancedAnalytics,
			},
			{ID: "nobody", Tier: tenant.Free, Max: free.Max, Weight: 1},
			{ID: "bad", Tier: tenant.Free, Max: free.Max, Weight: 1},
			{ID: "list", Tier: tenant.Free, Max: free.Max, Weight: 1},
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

// A config that goes bad is served as it was, and each bad content is logged once.
func TestLoadLastGood(t *testing.T) {
	t.Parallel()
	testserver.EveryRedis(t, func(t *testing.T, rdb redis.UniversalClient) {
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

func TestLoadRedisAway(t *testing.T) {
	t.Parallel()
	m := testserver.Miniredis(t)
	s, _ := newStore(testserver.ConnectRedis(t, m.Addr()))
	m.SetError("LOADING")
	if got, err := s.Load(t.Context(), []string{"a"}); err == nil {
		t.Errorf("Load = %v, want the error of Redis", got)
	}
}

func TestTiers(t *testing.T) {
	t.Parallel()
	everyHome(t, func(t *testing.T, h home) {
		s, _ := h.store()
		other, _ := h.store()
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
		h.settle(t)
		if err := other.RefreshTiers(t.Context()); err != nil {
			t.Fatal(err)
		}
		want := tenant.TierDefaults{Features: tenant.CustomBranding, Max: [tenant.NumActions]int64{5, 100, 1, -1}, Weight: 1}
		for _, s := range []*store.Store{s, other} {
			got := h.load(t, s, "a")
			if diff := cmp.Diff(want, tenant.TierDefaults{Features: got.Features, Max: got.Max, Weight: got.Weight}); diff != "" {
				t.Errorf("free tenant (-want +got):\n%s", diff)
			}
		}
	})
}
