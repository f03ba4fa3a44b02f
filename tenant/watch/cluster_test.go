package watch_test

import (
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
	const tenants = 200
	addrs := startMasters(t)
	rdb := connect(t, true, addrs[0])
	s, _ := newStore(rdb)
	heard := follow(t, connect(t, true, addrs[1]), watch.Options{PollInterval: time.Hour})
	ids := make([]string, tenants)
	for i := range ids {
		ids[i] = fmt.Sprintf("comm_%03d", i)
		if _, _, err := s.Put(t.Context(), ids[i], tenant.Config{Tier: tenant.Pro}, store.PutOptions{IfNoneMatch: true}); err != nil {
			t.Fatal(err)
		}
	}
	for _, addr := range addrs {
		node := connect(t, false, addr)
		if n := node.DBSize(t.Context()).Val(); n < tenants/6 {
			t.Errorf("%s holds %d of %d documents: they are not spread", addr, n, tenants)
		}
	}
	_, v, err := s.UpgradeTier(t.Context(), ids[7], tenant.Enterprise)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Delete(t.Context(), ids[8], v); err == nil {
		t.Error("a tenant is deleted by another's version")
	}
	if err := s.Delete(t.Context(), ids[8], ""); err != nil {
		t.Fatal(err)
	}
	loaded, err := s.Load(t.Context(), ids)
	if err != nil {
		t.Fatal(err)
	}
	for i, got := range loaded {
		want := tenant.Pro
		switch i {
		case 7:
			want = tenant.Enterprise
		case 8:
			want = tenant.Free
		}
		if got.ID != ids[i] || got.Tier != want {
			t.Errorf("%s is loaded as %s of tier %s, want %s", ids[i], got.ID, got.Tier, want)
		}
	}
	found := map[string]int{}
	for page := (store.Page{Cursor: ""}); ; {
		if page, err = s.List(t.Context(), store.ListOptions{Cursor: page.Cursor, Limit: 7}); err != nil {
			t.Fatal(err)
		}
		for _, e := range page.Entries {
			found[e.ID]++
		}
		if page.Cursor == "" {
			break
		}
	}
	if len(found) != tenants-1 || found[ids[8]] != 0 {
		t.Errorf("%d tenants are listed, want %d", len(found), tenants-1)
	}
	for i, id := range ids {
		times := 1 // it was put
		if i == 7 || i == 8 {
			times = 2
		}
		eventually(t, "the changes of "+id+" are heard", func() bool { return heard.count("tenant_config:"+id, watch.PubSub) == times })
	}
}
