package store_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"

	"arrakis/loadtest/testserver"
	"arrakis/tenant/store"
)

func TestList(t *testing.T) {
	t.Parallel()
	testserver.EveryRedis(t, func(t *testing.T, rdb redis.UniversalClient) {
		const tenants = 1000
		putRaw(t, rdb, tenants)
		s, _ := newStore(rdb)
		for _, tt := range []struct{ limit, maxPage int }{{1, 1}, {7, 7}, {100, 100}, {0, 100}, {5000, store.MaxListLimit}} {
			found, pages := listAll(t, s, tt.limit, tt.maxPage)
			if len(found) != tenants {
				t.Errorf("limit %d: %d tenants on %d pages, want %d", tt.limit, len(found), pages, tenants)
			}
		}
		for _, bad := range []string{"x", "e30x", strings.Repeat("A", 5000), "eyJyIjpbIiJdfQ"} {
			if _, err := s.List(t.Context(), store.ListOptions{Cursor: bad}); !errors.Is(err, store.ErrCursor) {
				t.Errorf("cursor %.10q: %v, want ErrCursor", bad, err)
			}
		}
	})
}

// putRaw stores n tenants, the first with a document that cannot be used, among keys that are none of a tenant.
func putRaw(t *testing.T, rdb redis.UniversalClient, n int) {
	t.Helper()
	_, err := rdb.Pipelined(t.Context(), func(p redis.Pipeliner) error {
		for i := range n {
			p.Set(t.Context(), fmt.Sprintf("tenant:config:comm_%04d", i), `{"tier":"pro"}`, 0)
			p.Set(t.Context(), fmt.Sprintf("ratelimit:comm_%04d:command", i), "x", 0)
		}
		p.Set(t.Context(), "tenant:config:comm_0000", `nonsense`, 0)
		p.Set(t.Context(), "tenant:config:bad id", `{"tier":"pro"}`, 0)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// listAll walks all pages of what putRaw has stored. It counts how often each tenant is found.
func listAll(t *testing.T, s *store.Store, limit, maxPage int) (found map[string]int, pages int) {
	t.Helper()
	found = make(map[string]int)
	for cursor := ""; pages == 0 || cursor != ""; pages++ {
		page, err := s.List(t.Context(), store.ListOptions{Cursor: cursor, Limit: limit})
		if err != nil {
			t.Fatal(err)
		}
		if len(page.Entries) > maxPage {
			t.Fatalf("a page of %d with limit %d", len(page.Entries), limit)
		}
		for _, e := range page.Entries {
			found[e.ID]++
			if (e.Err != nil) != (e.ID == "comm_0000") || e.Version == "" {
				t.Errorf("entry %+v", e)
			}
		}
		cursor = page.Cursor
	}
	return found, pages
}
