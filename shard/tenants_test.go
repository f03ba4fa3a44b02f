package shard

import (
	"fmt"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

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
