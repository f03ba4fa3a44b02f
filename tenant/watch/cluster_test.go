package watch_test

import (
	"cmp"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"arrakis/tenant"
	"arrakis/tenant/store"
	"arrakis/tenant/watch"
)

// startMasters starts a cluster of three masters, which have the slots in
// equal parts, and returns their addresses.
func startMasters(t *testing.T) []string {
	t.Helper()
	const slots, masters = 16384, 3
	addrs := make([]string, masters)
	nodes := make([]*redis.Client, masters)
	for i := range masters {
		// A node that stalls is not failed.
		addr, stop := runServer(t, t.TempDir(), "--cluster-enabled", "yes", "--cluster-node-timeout", "60000")
		t.Cleanup(stop)
		addrs[i], nodes[i] = addr, redis.NewClient(&redis.Options{Addr: addr})
		t.Cleanup(func() { _ = nodes[i].Close() })
		host, port, _ := net.SplitHostPort(addr)
		for _, err := range []error{
			nodes[i].ClusterAddSlotsRange(t.Context(), slots*i/masters, slots*(i+1)/masters-1).Err(),
			nodes[i].Do(t.Context(), "CLUSTER", "SET-CONFIG-EPOCH", i+1).Err(),
			nodes[0].Do(t.Context(), "CLUSTER", "MEET", host, port).Err(),
		} {
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, n := range nodes {
		eventually(t, "the cluster is up", func() bool {
			info := n.ClusterInfo(t.Context()).Val()
			return strings.Contains(info, "cluster_state:ok") && strings.Contains(info, "cluster_size:3")
		})
	}
	return addrs
}

// What the tests on a cluster of one node cannot show: documents, the change
// log and the pages of a list on different masters.
func TestClusterOfThree(t *testing.T) {
	t.Parallel()
	addrs := startMasters(t)
	s, _ := newStore(connect(t, true, addrs[0]))
	heard := follow(t, connect(t, true, addrs[1]), watch.Options{PollInterval: time.Hour})
	ids := make([]string, 200)
	for i := range ids {
		ids[i] = fmt.Sprintf("comm_%03d", i)
		if _, _, err := s.Put(t.Context(), ids[i], tenant.Config{Tier: tenant.Pro}, store.PutOptions{IfNoneMatch: true}); err != nil {
			t.Fatal(err)
		}
	}
	checkSpread(t, addrs, len(ids))
	upgraded, deleted := ids[7], ids[8]
	_, v, err := s.UpgradeTier(t.Context(), upgraded, tenant.Enterprise)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Delete(t.Context(), deleted, v); err == nil {
		t.Error("a tenant is deleted by another's version")
	}
	if err := s.Delete(t.Context(), deleted, ""); err != nil {
		t.Fatal(err)
	}
	checkTiers(t, s, ids, map[string]tenant.Tier{upgraded: tenant.Enterprise, deleted: tenant.Free})
	if found := listIDs(t, s); len(found) != len(ids)-1 || found[deleted] {
		t.Errorf("%d tenants are listed, want %d", len(found), len(ids)-1)
	}
	for _, id := range ids {
		times := 1 // it was put
		if id == upgraded || id == deleted {
			times = 2
		}
		eventually(t, "the changes of "+id+" are heard", func() bool { return heard.count("tenant_config:"+id, watch.PubSub) == times })
	}
}

// checkSpread checks that each master holds its part of the documents.
func checkSpread(t *testing.T, addrs []string, documents int) {
	t.Helper()
	for _, addr := range addrs {
		if n := connect(t, false, addr).DBSize(t.Context()).Val(); n < int64(documents/6) {
			t.Errorf("%s holds %d of %d documents: they are not spread", addr, n, documents)
		}
	}
}

// checkTiers checks what ids are loaded as: Pro, but for the others.
func checkTiers(t *testing.T, s *store.Store, ids []string, others map[string]tenant.Tier) {
	t.Helper()
	loaded, err := s.Load(t.Context(), ids)
	if err != nil {
		t.Fatal(err)
	}
	for i, got := range loaded {
		want := cmp.Or(others[ids[i]], tenant.Pro)
		if got.ID != ids[i] || got.Tier != want {
			t.Errorf("%s is loaded as %s of tier %s, want %s", ids[i], got.ID, got.Tier, want)
		}
	}
}

// listIDs lists all tenants, in small pages.
func listIDs(t *testing.T, s *store.Store) map[string]bool {
	t.Helper()
	found := map[string]bool{}
	for cursor := ""; ; {
		page, err := s.List(t.Context(), store.ListOptions{Cursor: cursor, Limit: 7})
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range page.Entries {
			found[e.ID] = true
		}
		if cursor = page.Cursor; cursor == "" {
			return found
		}
	}
}
