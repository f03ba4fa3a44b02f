package shard

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"arrakis/limiter"
	"arrakis/limiter/redishealth"
	"arrakis/loadtest/testserver"
	"arrakis/tenant"
	"arrakis/tenant/store"
)

// W5: when a cluster has lost a master, tenants on the others are read and limited as ever, also those that are not
// cached. Only tenants on the lost master have the free tier.
func TestW5TenantsOfOtherMasters(t *testing.T) {
	b, _, lose := onCluster(t)
	const communities = 30
	var notes []*note
	for i := range communities {
		id := fmt.Sprint("pro", i)
		if _, _, err := b.store.UpgradeTier(t.Context(), id, tenant.Pro); err != nil {
			t.Fatal(err)
		}
		notes = append(notes, commandOf(id, "e"))
	}
	onLost := lose()
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

// A community whose account is on a lost master has the free tier, as if its own config were there. Others have what they
// had, also where they are decided in one batch, and the master that has its config does not count as away. While the lost
// master does, nobody asks it.
func TestAccountsOfOtherMasters(t *testing.T) {
	b, rdb, lose := onCluster(t)
	const communities = 30
	var notes []*note
	for i := range communities {
		account, id := fmt.Sprint("account", i), fmt.Sprint("c", i)
		if _, _, err := b.store.PutAccount(t.Context(), account, tenant.Account{Tier: tenant.Pro}, store.PutOptions{}); err != nil {
			t.Fatal(err)
		}
		b.members(account, id)
		notes = append(notes, commandOf(id, "e"))
	}
	onLost := lose()
	for range 3 { // the master does not count as away at once
		lost := 0
		for _, n := range b.send(notes...) {
			a := &n.admission
			want, account := tenant.Pro, "account"+a.TenantKey[1:]
			if onLost(store.ConfigKey(a.TenantKey)) || onLost(store.AccountKey(account)) {
				want = tenant.Free
				lost++
			}
			if a.Tenant.Tier != want {
				t.Errorf("%s in %s: tier %s, want %s", a.TenantKey, account, a.Tenant.Tier, want)
			}
		}
		if lost == 0 || lost == communities {
			t.Errorf("%d of %d tenants are on the lost master: they are not spread", lost, communities)
		}
	}
	if nodes := b.limits.Health().Nodes(); len(nodes) != 1 {
		t.Errorf("away are %v, want the lost master alone", nodes)
	}
	asked := new(gets)
	rdb.AddHook(asked)
	b.send(notes...)
	if len(asked.keys) == 0 || slices.ContainsFunc(asked.keys, onLost) {
		t.Errorf("keys that are read while a master is away: %v", asked.keys)
	}
}

// gets records the keys that are read in pipelines.
type gets struct {
	redis.Hook
	keys []string
}

func (*gets) DialHook(next redis.DialHook) redis.DialHook { return next }

func (*gets) ProcessHook(next redis.ProcessHook) redis.ProcessHook { return next }

func (g *gets) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		for _, cmd := range cmds {
			if cmd.Name() == "get" {
				g.keys = append(g.keys, fmt.Sprint(cmd.Args()[1]))
			}
		}
		return next(ctx, cmds)
	}
}

// onCluster starts a pool on a cluster of three masters. lose kills one of them, and then reports which keys were on it.
func onCluster(t *testing.T) (b *bundle, rdb redis.UniversalClient, lose func() (onLost func(key string) bool)) {
	t.Helper()
	masters := testserver.Cluster(t, 3)
	for _, m := range masters {
		if err := m.Client(t).ConfigSet(t.Context(), "cluster-require-full-coverage", "no").Err(); err != nil {
			t.Fatal(err)
		}
	}
	cluster := testserver.ConnectCluster(t, masters[1].Addr())
	health, err := redishealth.New(cluster, redishealth.Options{Timeout: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	limits, err := limiter.New(cluster, limiter.Options{Health: health})
	if err != nil {
		t.Fatal(err)
	}
	b = start(t, &bundle{t: t, store: store.New(cluster, store.Options{Source: "test"}), limits: limits}, Options{Shards: 1})
	return b, cluster, func() func(string) bool {
		masters[0].Kill()
		return func(key string) bool {
			owner, err := cluster.MasterForKey(context.Background(), key)
			return err == nil && owner.Options().Addr == masters[0].Addr()
		}
	}
}
