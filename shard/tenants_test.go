package shard

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"arrakis/loadtest/testserver"
	"arrakis/tenant"
	"arrakis/tenant/store"
)

// An upgrade counts for the very next message, also of a community that is blocked at that moment; a downgrade
// likewise.
func TestChangeOfTierCountsForTheNextMessage(t *testing.T) {
	b := setup(t, Options{Shards: 4, CacheTTL: time.Hour})
	if got := b.allowed(commands("c1", 0, 50)...); got != 10 {
		t.Fatalf("%d admitted as free, want 10", got)
	}
	change := func(tier tenant.Tier) {
		t.Helper()
		if _, _, err := b.store.UpgradeTier(t.Context(), "c1", tier); err != nil {
			t.Fatal(err)
		}
		if err := b.pool.Notify(t.Context(), tenant.Event{Type: tenant.TenantChanged, TargetID: "c1"}); err != nil {
			t.Fatal(err)
		}
	}
	change(tenant.Pro)
	if got := b.allowed(commands("c1", 100, 300)...); got != 90 {
		t.Errorf("%d admitted after the upgrade, want the 90 that are left of 100", got)
	}
	change(tenant.Free)
	if got := b.allowed(commands("c1", 300, 310)...); got != 0 {
		t.Errorf("%d admitted after the downgrade, want none", got)
	}
}

// A message can know that its tenant's config has been written. It is admitted under that config, although no event has told
// the shard, and the tenant is read once for that, whatever other messages know.
func TestAddSince(t *testing.T) {
	b := setup(t, Options{Shards: 4, CacheTTL: time.Hour})
	if got := b.allowed(commands("c1", 0, 50)...); got != 10 {
		t.Fatalf("%d admitted as free, want 10", got)
	}
	reads := b.redis.CommandCount
	c, _, err := b.store.UpgradeTier(t.Context(), "c1", tenant.Pro)
	if err != nil {
		t.Fatal(err)
	}
	send := func(written ...time.Time) (tiers []tenant.Tier) {
		t.Helper()
		s := b.pool.Sorter()
		for i, at := range written {
			n := commandOf("c1", fmt.Sprint(i))
			n.admission.Limited = false
			if at.IsZero() {
				s.Add(n)
			} else {
				s.AddSince(n, at)
			}
		}
		if err := s.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		for range written {
			tiers = append(tiers, (<-b.out).admission.Tenant.Tier)
		}
		return tiers
	}
	none, written, later := time.Time{}, c.UpdatedAt, c.UpdatedAt.Add(time.Millisecond)
	for _, tt := range []struct {
		written []time.Time
		reads   int
		want    []tenant.Tier
	}{
		{[]time.Time{none}, 0, []tenant.Tier{tenant.Free}},
		{[]time.Time{none, written, written.Add(-time.Hour)}, 1, []tenant.Tier{tenant.Pro, tenant.Pro, tenant.Pro}},
		{[]time.Time{written, written.Add(-time.Hour)}, 0, []tenant.Tier{tenant.Pro, tenant.Pro}},
		{[]time.Time{later}, 1, []tenant.Tier{tenant.Pro}}, // the config is gone again, as far as Redis knows
		{[]time.Time{later}, 0, []tenant.Tier{tenant.Pro}},
	} {
		before := reads()
		if diff := cmp.Diff(tt.want, send(tt.written...)); diff != "" {
			t.Errorf("%v (-want +got):\n%s", tt.written, diff)
		}
		if n := reads() - before; n != tt.reads {
			t.Errorf("%v: %d reads, want %d", tt.written, n, tt.reads)
		}
	}
	b.redis.SetError("LOADING")
	send(later.Add(time.Millisecond))
	b.redis.SetError("")
	if _, _, err := b.store.UpgradeTier(t.Context(), "c1", tenant.Enterprise); err != nil {
		t.Fatal(err)
	}
	testserver.Eventually(t, "Redis is asked again for what could not be read", func() bool {
		b.limits.Health().Recover(t.Context())
		return send(none)[0] == tenant.Enterprise
	})
}

// A tier that was bought ends at its time, although the tenant is cached and nothing tells of it.
func TestTierEnds(t *testing.T) {
	b := setup(t, Options{Shards: 4, CacheTTL: time.Hour})
	skus := tenant.Tiers{SKUs: map[string]tenant.Tier{"1": tenant.Pro}}
	if _, err := b.store.PutTiers(t.Context(), skus, store.PutOptions{}); err != nil {
		t.Fatal(err)
	}
	for ends := 50 * time.Millisecond; ; ends *= 2 { // a slow machine needs longer to see the tier before it ends
		until := time.Now().Add(ends).Truncate(time.Millisecond) // as a tenant has it
		bought := map[string]tenant.Entitlement{"9": {SKU: "1", At: until, EndsAt: until}}
		c := tenant.Config{Tier: tenant.Pro, TierFrom: tenant.FromEntitlement, Entitlements: bought}
		id := fmt.Sprint("c", ends)
		if _, _, err := b.store.Put(t.Context(), id, c, store.PutOptions{}); err != nil {
			t.Fatal(err)
		}
		tier := func() tenant.Tier { return b.send(commandOf(id, fmt.Sprint(time.Now())))[0].admission.Tenant.Tier }
		if tier() != tenant.Pro && ends < time.Minute {
			continue
		}
		testserver.Eventually(t, "the tier ends", func() bool { return tier() == tenant.Free })
		if time.Now().Before(until) {
			t.Error("the tier ended early")
		}
		return
	}
}

func TestResetReachesLocalWindows(t *testing.T) {
	b := setup(t, Options{Shards: 4})
	for _, id := range []string{"guild-1", "guild-2"} {
		if _, _, err := b.store.Put(t.Context(), id, tenant.Config{CommunityID: "all", Tier: tenant.Free}, store.PutOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	if got := b.allowed(append(commands("guild-1", 0, 20), commands("guild-2", 20, 40)...)...); got != 10 {
		t.Fatalf("%d admitted, want 10", got)
	}
	if err := b.limits.Reset(t.Context(), Key("all", tenant.Command)); err != nil {
		t.Fatal(err)
	}
	if err := b.pool.Notify(t.Context(), tenant.Event{Type: tenant.LimitReset, TargetID: "all:command"}); err != nil {
		t.Fatal(err)
	}
	// Both guilds' windows, on whatever shards they are, have to forget.
	if got := b.allowed(commands("guild-2", 40, 45)...); got != 5 {
		t.Errorf("guild-2: %d admitted after the reset, want 5", got)
	}
	if got := b.allowed(commands("guild-1", 45, 55)...); got != 5 {
		t.Errorf("guild-1: %d admitted after the reset, want 5", got)
	}
}

func TestGuildMovesToAnotherCommunity(t *testing.T) {
	b := setup(t, Options{Shards: 2})
	if got := b.allowed(commands("guild", 0, 20)...); got != 10 {
		t.Fatalf("%d admitted, want 10", got)
	}
	if _, _, err := b.store.Put(t.Context(), "guild", tenant.Config{CommunityID: "other", Tier: tenant.Free}, store.PutOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := b.pool.Notify(t.Context(), tenant.Event{Type: tenant.TenantChanged, TargetID: "guild"}); err != nil {
		t.Fatal(err)
	}
	if got := b.allowed(commands("guild", 20, 40)...); got != 10 {
		t.Errorf("%d admitted as another community, want its 10", got)
	}
	if n, err := b.redis.ZMembers("ratelimit:other:command"); err != nil || len(n) != 10 {
		t.Errorf("the other community holds %d permits (%v)", len(n), err)
	}
}

func TestTenantsAreServedStaleWhileRedisIsAway(t *testing.T) {
	b := setup(t, Options{Shards: 1, CacheTTL: time.Millisecond})
	if _, _, err := b.store.UpgradeTier(t.Context(), "ent", tenant.Enterprise); err != nil {
		t.Fatal(err)
	}
	b.send(commandOf("ent", "e0"))
	b.redis.Close()
	for i := range 3 {
		got := b.send(commandOf("ent", fmt.Sprintf("e%d", i+1)))[0].admission
		if got.Tenant.Tier != tenant.Enterprise || !got.Verdict.Allowed {
			t.Errorf("tenant %+v, verdict %+v", got.Tenant, got.Verdict)
		}
	}
	if got := b.send(commandOf("stranger", "e9"))[0].admission; got.Tenant.Tier != tenant.Free {
		t.Errorf("an unknown community is %s, want free", got.Tenant.Tier)
	}
	if err := b.redis.Restart(); err != nil {
		t.Fatal(err)
	}
}

// A change that concerns all tenants makes each be read again once, by the batch that its message comes in, and not all
// at the same moment.
func TestGlobalChangeIsNoHerd(t *testing.T) {
	const tenants = 10_000
	b := setup(t, Options{Shards: 16, CacheTTL: time.Hour})
	var notes []*note
	for i := range tenants {
		n := commandOf(fmt.Sprintf("c%d", i), "e")
		n.admission.Limited = false
		notes = append(notes, n)
	}
	b.send(notes...)
	before := b.redis.CommandCount()
	if err := b.pool.Notify(t.Context(), tenant.Event{Type: tenant.GlobalChanged}); err != nil {
		t.Fatal(err)
	}
	if n := b.redis.CommandCount() - before; n != 0 {
		t.Errorf("the event itself cost %d commands, want none", n)
	}
	// The traffic of the second after the event, in which every tenant comes due: each tenant ten times, on a slow
	// machine too.
	began := time.Now()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	rounds := 0
	for ; rounds < 10 || time.Since(began) < time.Second; rounds++ {
		for i := range notes {
			notes[i] = &note{notes[i].admission}
		}
		b.send(notes...)
		<-tick.C
	}
	reads := b.redis.CommandCount() - before
	t.Logf("%d reads for %d messages of %d tenants", reads, rounds*tenants, tenants)
	if reads == 0 || reads > tenants/10 {
		t.Errorf("%d reads for %d tenants, want some and at most %d", reads, tenants, tenants/10)
	}
}

func TestCacheIsBounded(t *testing.T) {
	reg := prometheus.NewRegistry()
	b := setup(t, Options{Shards: 2, CacheSize: 10, Registerer: reg})
	var notes []*note
	for i := range 1_000 {
		notes = append(notes, commandOf(fmt.Sprintf("c%d", i), "e"))
	}
	if got := b.allowed(notes...); got != len(notes) {
		t.Errorf("%d of %d admitted", got, len(notes))
	}
	for i, s := range b.pool.shards {
		if n := s.cache.Len(); n > 14 { // 5 and 4 times the root of 5
			t.Errorf("shard %d caches %d tenants, want at most 14", i, n)
		}
	}
	if n, err := testutil.GatherAndCount(reg, "arrakis_shard_mailbox_depth"); err != nil || n != 2 {
		t.Errorf("%d depths, want 2 (%v)", n, err)
	}
}
