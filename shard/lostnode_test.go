package shard

import (
	"context"
	"fmt"
	"testing"
	"time"

	"arrakis/limiter"
	"arrakis/limiter/redishealth"
	"arrakis/loadtest/testserver"
	"arrakis/tenant"
	"arrakis/tenant/store"
)

// W5: when a cluster has lost a master, tenants on the others are read and limited as ever, also those that are not
// cached. Only tenants on the lost master have the free tier.
func TestW5TenantsOfOtherMasters(t *testing.T) {
	masters := testserver.Cluster(t, 3)
	for _, m := range masters {
		if err := m.Client(t).ConfigSet(t.Context(), "cluster-require-full-coverage", "no").Err(); err != nil {
			t.Fatal(err)
		}
	}
	rdb := testserver.ConnectCluster(t, masters[1].Addr())
	tenants := store.New(rdb, store.Options{Source: "test"})
	health, err := redishealth.New(rdb, redishealth.Options{Timeout: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	limits, err := limiter.New(rdb, limiter.Options{Health: health})
	if err != nil {
		t.Fatal(err)
	}
	b := start(t, &bundle{t: t, store: tenants, limits: limits}, Options{Shards: 1})
	const communities = 30
	var notes []*note
	for i := range communities {
		id := fmt.Sprint("pro", i)
		if _, _, err := tenants.UpgradeTier(t.Context(), id, tenant.Pro); err != nil {
			t.Fatal(err)
		}
		notes = append(notes, commandOf(id, "e"))
	}
	masters[0].Kill()
	onLost := func(key string) bool {
		owner, err := rdb.MasterForKey(context.Background(), key)
		return err == nil && owner.Options().Addr == masters[0].Addr()
	}
	read := 0
	for _, n := range b.send(notes...) {
		a := &n.admission
		want := tenant.Pro
		if onLost(store.ConfigKey(a.TenantKey)) {
			want = tenant.Free
		} else {
			read++
		}
		degraded := onLost("ratelimit:" + Key(a.TenantKey, tenant.Command))
		if a.Tenant.Tier != want || a.Verdict.Degraded != degraded || !a.Verdict.Allowed {
			t.Errorf("%s: tier %s, want %s; verdict %+v, want degraded %t", a.TenantKey, a.Tenant.Tier, want, a.Verdict, degraded)
		}
	}
	if read == 0 || read == communities {
		t.Errorf("%d of %d tenants on the other masters: they are not spread", read, communities)
	}
}
