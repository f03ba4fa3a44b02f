package store_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sync/errgroup"

	"arrakis/loadtest/testserver"
	"arrakis/tenant"
	"arrakis/tenant/store"
)

// newPremiumStore is a store whose tiers say what SKUs give.
func newPremiumStore(t *testing.T, h home) *store.Store {
	t.Helper()
	s, _ := h.store()
	skus := tenant.Tiers{SKUs: map[string]tenant.Tier{"1": tenant.Pro, "2": tenant.Enterprise}}
	if _, err := s.PutTiers(t.Context(), skus, store.PutOptions{}); err != nil {
		t.Fatal(err)
	}
	return s
}

// bought is an interaction of a community that has bought the SKUs, which are the IDs of the entitlements too.
func bought(at time.Time, skus ...string) tenant.Observation {
	o := tenant.Observation{At: at, Complete: true, Seen: map[string]tenant.Seen{}}
	for _, sku := range skus {
		o.Seen[sku] = tenant.Seen{SKU: sku}
	}
	return o
}

func TestEntitle(t *testing.T) {
	t.Parallel()
	everyHome(t, func(t *testing.T, h home) {
		s, ctx := newPremiumStore(t, h), t.Context()
		start := h.rdb.Time(ctx).Val()
		entitle := func(o tenant.Observation, wantChanged bool) {
			t.Helper()
			updatedAt, changed, err := s.Entitle(store.WithOrigin(ctx, store.Origin{Actor: "discord"}), "g", o)
			if err != nil || changed != wantChanged {
				t.Errorf("%+v: changed %t, %v, want %t", o, changed, err, wantChanged)
			}
			if c, _, err := s.Get(ctx, "g"); err == nil && !updatedAt.Equal(c.UpdatedAt) {
				t.Errorf("%+v: updated at %v, want %v", o, updatedAt, c.UpdatedAt)
			}
		}
		tier := func(want tenant.Tier) {
			t.Helper()
			c, _, err := s.Get(ctx, "g")
			if got := h.load(t, s, "g"); err != nil || got.Tier != want || got.UpdatedMS != c.UpdatedAt.UnixMilli() {
				t.Errorf("%+v, %v, want %s", got, err, want)
			}
			if c.TierFrom == tenant.FromEntitlement && c.Tier != want {
				t.Errorf("stored is %s, want %s", c.Tier, want)
			}
		}
		entitle(bought(start), false)
		if _, _, err := s.Get(ctx, "g"); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("a config for who has bought nothing: %v", err)
		}
		entitle(bought(start.Add(time.Second), "1"), true)
		tier(tenant.Pro)
		entitle(bought(start.Add(2*time.Second), "1"), false)
		entitle(bought(start.Add(3*time.Second), "1", "2"), true)
		tier(tenant.Enterprise)

		// What an operator sets wins, and entitlements are still recorded.
		if _, _, err := s.UpgradeTier(ctx, "g", tenant.Free); err != nil {
			t.Fatal(err)
		}
		tier(tenant.Free)
		entitle(bought(start.Add(4*time.Second), "1"), true)
		tier(tenant.Free)
		if c, _, err := s.Put(ctx, "g", tenant.Config{Tier: tenant.Free, TierFrom: tenant.FromEntitlement}, store.PutOptions{}); err != nil || c.Tier != tenant.Pro {
			t.Errorf("given back: %+v, %v, want pro", c, err)
		}
		tier(tenant.Pro)
		entitle(bought(start.Add(5*time.Second)), true)
		tier(tenant.Free)
		if c, _, err := s.Put(ctx, "g", tenant.Config{Tier: tenant.Pro, Entitlements: map[string]tenant.Entitlement{}}, store.PutOptions{}); err != nil || len(c.Entitlements) != 0 || c.TierFrom != "" {
			t.Errorf("without entitlements: %+v, %v", c, err)
		}

		page, err := s.Audit(ctx, store.AuditQuery{Type: store.AuditTenant})
		if err != nil {
			t.Fatal(err)
		}
		var actors []string
		for _, e := range page.Entries {
			actors = append(actors, e.Actor)
		}
		if diff := cmp.Diff([]string{"test", "discord", "test", "discord", "test", "discord", "discord"}, actors); diff != "" {
			t.Errorf("who has changed it, the last first (-want +got):\n%s", diff)
		}
	})
}

// Every process is told of a change, and of nothing else.
func TestEntitleAnnounces(t *testing.T) {
	t.Parallel()
	rdb := testserver.ConnectRedis(t, testserver.Miniredis(t).Addr())
	s := newPremiumStore(t, home{rdb: rdb})
	changes := func() int64 { return rdb.ZCard(t.Context(), store.ChangesKey).Val() }
	before := changes()
	for i, want := range []int64{1, 1} {
		if _, _, err := s.Entitle(t.Context(), "g", bought(time.Now(), "1")); err != nil {
			t.Fatal(err)
		}
		if got := changes() - before; got != want {
			t.Errorf("after %d observations %d changes are announced, want %d", i+1, got, want)
		}
	}
}

// An entitlement ends without a write, an event or a new look at Redis's document.
func TestEntitlementEnds(t *testing.T) {
	t.Parallel()
	s := newPremiumStore(t, home{rdb: testserver.ConnectRedis(t, testserver.Miniredis(t).Addr())})
	ends := time.Now().Add(time.Hour).UTC().Truncate(time.Millisecond)
	put := func(ends time.Time) {
		t.Helper()
		c := tenant.Config{Tier: tenant.Pro, TierFrom: tenant.FromEntitlement, Entitlements: map[string]tenant.Entitlement{"9": {SKU: "1", At: ends, EndsAt: ends}}}
		if _, _, err := s.Put(t.Context(), "g", c, store.PutOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	put(ends)
	if got := load(t, s, "g"); got.Tier != tenant.Pro || got.TierEndsMS != ends.UnixMilli() {
		t.Errorf("%+v, want pro until %v", got, ends)
	}
	put(time.Now())
	if got := load(t, s, "g"); got.Tier != tenant.Free || got.TierEndsMS != 0 {
		t.Errorf("%+v, want free", got)
	}
}

// Processes that learn of different entitlements at the same time lose none.
func TestEntitleAtTheSameTime(t *testing.T) {
	t.Parallel()
	everyHome(t, func(t *testing.T, h home) {
		s, now := newPremiumStore(t, h), time.Now()
		g, ctx := errgroup.WithContext(t.Context())
		for i := range 12 {
			g.Go(func() error {
				o := tenant.Observation{At: now, Seen: map[string]tenant.Seen{fmt.Sprint(100 + i/2): {SKU: "1"}}} // each twice
				_, _, err := s.Entitle(ctx, "g", o)
				return err
			})
		}
		if err := g.Wait(); err != nil {
			t.Fatal(err)
		}
		c, _, err := s.Get(t.Context(), "g")
		if err != nil || len(c.Entitlements) != 6 {
			t.Errorf("%d entitlements, %v, want 6", len(c.Entitlements), err)
		}
	})
}

func TestEntitleRefuses(t *testing.T) {
	t.Parallel()
	everyHome(t, func(t *testing.T, h home) {
		s := newPremiumStore(t, h)
		h.setTenant(t, "bad", `{"tier":"gold"}`)
		if _, _, err := s.Entitle(t.Context(), "bad", bought(time.Now(), "1")); err == nil || !errors.As(err, new(*store.StoredError)) {
			t.Errorf("a config that cannot be used: %v", err)
		}
		if _, _, err := s.Entitle(t.Context(), "a b", bought(time.Now(), "1")); err == nil || !errors.As(err, new(*tenant.FieldError)) {
			t.Errorf("a bad ID: %v", err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, _, err := s.Entitle(ctx, "g", bought(time.Now(), "1")); !errors.Is(err, context.Canceled) {
			t.Errorf("after the end of the context: %v", err)
		}
	})
}

// A change that says nothing of the tier leaves it to entitlements, where SKUs give tiers.
func TestNewConfigLeavesTheTier(t *testing.T) {
	t.Parallel()
	for _, skus := range []bool{false, true} {
		rdb := testserver.ConnectRedis(t, testserver.Miniredis(t).Addr())
		s, _ := newStore(rdb)
		if skus {
			s = newPremiumStore(t, home{rdb: rdb})
		}
		c, _, err := s.Update(t.Context(), "g", func(c *tenant.Config) error { c.GuildID = "1"; return nil })
		if err != nil || c.Tier != tenant.Free || (c.TierFrom == tenant.FromEntitlement) != skus {
			t.Errorf("with SKUs %t: %+v, %v", skus, c, err)
		}
	}
}

// Members that others have added to entitlements survive, and SKUs survive a write that says nothing of them.
func TestWritesKeepWhatTheyDoNotName(t *testing.T) {
	t.Parallel()
	everyHome(t, func(t *testing.T, h home) {
		s := newPremiumStore(t, h)
		h.setTenant(t, "g", `{"tier":"free","entitlements":{"9":{"sku":"1","at":"2026-01-01T00:00:00Z","x":1}}}`)
		if _, _, err := s.Put(t.Context(), "g", tenant.Config{Tier: tenant.Pro}, store.PutOptions{}); err != nil {
			t.Fatal(err)
		}
		c, _, err := s.Update(t.Context(), "g", func(c *tenant.Config) error {
			return c.Merge([]byte(`{"entitlements":{"9":{"sku":"2"},"8":{"sku":"1","at":"2026-01-01T00:00:00Z"}}}`))
		})
		if e := c.Entitlements["9"]; err != nil || len(c.Entitlements) != 2 || e.SKU != "2" || string(e.Unknown) != `{"x":1}` {
			t.Errorf("%+v, %v", c, err)
		}
		if known := c.Known(); known.Entitlements["9"].Unknown != nil || c.Entitlements["9"].Unknown == nil {
			t.Errorf("shown as %+v, stored as %+v", known, c)
		}
		for _, tt := range []struct {
			skus map[string]tenant.Tier
			want int
		}{{nil, 2}, {map[string]tenant.Tier{"3": tenant.Pro}, 1}, {map[string]tenant.Tier{}, 0}} {
			if _, err := s.PutTiers(t.Context(), tenant.Tiers{SKUs: tt.skus}, store.PutOptions{}); err != nil {
				t.Fatal(err)
			}
			if got := len(s.Tiers().SKUs); got != tt.want {
				t.Errorf("after %v there are %d SKUs, want %d", tt.skus, got, tt.want)
			}
		}
	})
}
