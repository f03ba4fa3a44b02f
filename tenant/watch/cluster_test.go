package watch_test

import (
	"cmp"
	"fmt"
	"testing"
	"time"

	"arrakis/loadtest/testserver"
	"arrakis/tenant"
	"arrakis/tenant/store"
	"arrakis/tenant/watch"
)

// What the tests on a cluster of one node cannot show: documents, the change log and the pages of a list on different
// masters.
func TestClusterOfThree(t *testing.T) {
	t.Parallel()
	masters := testserver.Cluster(t, 3)
	s, _ := newStore(testserver.ConnectCluster(t, masters[0].Addr()))
	heard := follow(t, testserver.ConnectCluster(t, masters[1].Addr()), watch.Options{PollInterval: time.Hour})
	ids := make([]string, 200)
	for i := range ids {
		ids[i] = fmt.Sprintf("comm_%03d", i)
		if _, _, err := s.Put(t.Context(), ids[i], tenant.Config{Tier: tenant.Pro}, store.PutOptions{IfNoneMatch: true}); err != nil {
			t.Fatal(err)
		}
	}
	checkSpread(t, masters, len(ids))
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
		testserver.Eventually(t, "the changes of "+id+" are heard", func() bool { return heard.count("tenant_config:"+id, watch.PubSub) == times })
	}
}

// checkSpread checks that each master holds its part of the documents.
func checkSpread(t *testing.T, masters []*testserver.RedisServer, documents int) {
	t.Helper()
	for _, m := range masters {
		if n := m.Client(t).DBSize(t.Context()).Val(); n < int64(documents/6) {
			t.Errorf("%s holds %d of %d documents: they are not spread", m.Addr(), n, documents)
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
