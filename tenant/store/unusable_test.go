package store_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"

	"arrakis/loadtest/testserver"
	"arrakis/tenant"
	"arrakis/tenant/store"
)

// checkUnusable compares the keys that the store names, of all kinds.
func checkUnusable(t *testing.T, s *store.Store, want ...string) {
	t.Helper()
	var got []string
	for _, u := range s.Unusable() {
		if u.Count < len(u.Keys) {
			t.Errorf("%s: %d documents, but keys %v", u.Document, u.Count, u.Keys)
		}
		got = append(got, u.Keys...)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("unusable documents (-want +got):\n%s", diff)
	}
}

// F1: tiers that cannot be used are no error of Redis. Those in force stay, the key is named once in the log, and what
// is mended or deleted is in force at once.
func TestF1BadTiers(t *testing.T) {
	t.Parallel()
	testserver.EveryRedis(t, func(t *testing.T, rdb redis.UniversalClient) {
		s, log := newStore(rdb)
		limit := func(text string) int64 {
			t.Helper()
			if text == "list" {
				if err := rdb.Del(t.Context(), "arrakis:tiers").Err(); err != nil {
					t.Fatal(err)
				}
				if err := rdb.RPush(t.Context(), "arrakis:tiers", "x").Err(); err != nil {
					t.Fatal(err)
				}
			} else {
				set(t, rdb, "arrakis:tiers", text)
			}
			for range 3 {
				if err := s.RefreshTiers(t.Context()); err != nil {
					t.Fatalf("RefreshTiers of %s: %v", text, err)
				}
			}
			return load(t, s, "a").Max[tenant.Command]
		}
		const good, bad = `{"free":{"rateLimits":{"commandsPerMinute":5}}}`, `{"free":{"rateLimits":{"commandsPerMinute":"20"}}}`
		if got := limit(bad); got != 10 {
			t.Errorf("never good: the limit is %d, want the default", got)
		}
		checkUnusable(t, s, "arrakis:tiers")
		limit(good)
		checkUnusable(t, s)
		log.Reset()
		for _, text := range []string{bad, "list"} {
			if got := limit(text); got != 5 {
				t.Errorf("%s: the limit is %d, want that of the last good tiers", text, got)
			}
			checkUnusable(t, s, "arrakis:tiers")
		}
		if n := strings.Count(log.String(), "key=arrakis:tiers"); n != 2 {
			t.Errorf("the key is named %d times, want once for each of two bad documents:\n%s", n, log)
		}
		log.Reset()
		if got := limit(good); got != 5 || strings.Count(log.String(), "can be used again") != 1 {
			t.Errorf("mended: the limit is %d, log:\n%s", got, log)
		}
		limit(bad)
		if err := rdb.Del(t.Context(), "arrakis:tiers").Err(); err != nil {
			t.Fatal(err)
		}
		if err := s.RefreshTiers(t.Context()); err != nil || load(t, s, "a").Max[tenant.Command] != 10 {
			t.Errorf("deleted: %v, want the defaults", err)
		}
		checkUnusable(t, s)
	})
}

// F1: too many flags leave the set in force; one bad flag leaves itself as it was and hides no other.
func TestF1BadFlags(t *testing.T) {
	t.Parallel()
	testserver.EveryRedis(t, func(t *testing.T, rdb redis.UniversalClient) {
		s, log := newStore(rdb)
		putFlags(t, s, "a", "b")
		checkEnabled(t, s, "a", "b")
		many := make(map[string]any)
		for i := range store.MaxFlags {
			many[fmt.Sprintf("f%d", i)] = `{"enabled":true}`
		}
		if err := rdb.HSet(t.Context(), "arrakis:flags", many).Err(); err != nil {
			t.Fatal(err)
		}
		checkEnabled(t, s, "a", "b")
		checkEnabled(t, s, "a", "b")
		checkUnusable(t, s, "arrakis:flags")
		if n := strings.Count(log.String(), "level=ERROR"); n != 1 {
			t.Errorf("%d errors in the log, want 1:\n%s", n, log)
		}
		if err := rdb.Del(t.Context(), "arrakis:flags").Err(); err != nil {
			t.Fatal(err)
		}
		checkEnabled(t, s)
		putFlags(t, s, "a", "b", "c")
		checkEnabled(t, s, "a", "b", "c")
		checkUnusable(t, s)
		if err := rdb.HSet(t.Context(), "arrakis:flags", "b", `{"id":"b","enabled":"yes"}`, "d", "[]").Err(); err != nil {
			t.Fatal(err)
		}
		checkEnabled(t, s, "a", "b", "c")
		checkUnusable(t, s, "arrakis:flags b", "arrakis:flags d")
		if err := rdb.HDel(t.Context(), "arrakis:flags", "b", "d").Err(); err != nil {
			t.Fatal(err)
		}
		checkEnabled(t, s, "a", "c")
		checkUnusable(t, s)
		if err := rdb.Set(t.Context(), "arrakis:flags", "text", 0).Err(); err != nil {
			t.Fatal(err)
		}
		checkEnabled(t, s, "a", "c")
		checkUnusable(t, s, "arrakis:flags")
	})
}

// F1: a config that cannot be used is named while it lasts, also when nobody reads its tenant meanwhile.
func TestF1BadTenants(t *testing.T) {
	t.Parallel()
	testserver.EveryRedis(t, func(t *testing.T, rdb redis.UniversalClient) {
		s, _ := newStore(rdb)
		var ids []string
		for i := range 5 {
			ids = append(ids, fmt.Sprint("t", i))
			set(t, rdb, "tenant:config:"+ids[i], "{")
		}
		set(t, rdb, "tenant:config:good", `{"tier":"pro"}`)
		got, err := s.Load(t.Context(), append(slices.Clone(ids), "good"))
		if err != nil || got[5].Tier != tenant.Pro || got[0].Tier != tenant.Free {
			t.Fatalf("Load beside bad configs: %v", err)
		}
		if u := s.Unusable()[store.Tenants]; u.Count != 5 || len(u.Keys) != 3 {
			t.Errorf("%+v, want 5 of which 3 are named", u)
		}
		set(t, rdb, "tenant:config:t0", `{"tier":"pro"}`)
		if err := rdb.Del(t.Context(), "tenant:config:t1").Err(); err != nil {
			t.Fatal(err)
		}
		mended, err := s.RecheckTenants(t.Context())
		slices.Sort(mended)
		if diff := cmp.Diff([]string{"t0", "t1"}, mended); err != nil || diff != "" {
			t.Errorf("RecheckTenants: %v (-want +got)\n%s", err, diff)
		}
		checkUnusable(t, s, "tenant:config:t2", "tenant:config:t3", "tenant:config:t4")
	})
}

// What is remembered of unusable documents is bounded as the memory is.
func TestUnusableIsBounded(t *testing.T) {
	t.Parallel()
	rdb := testserver.ConnectRedis(t, testserver.Miniredis(t).Addr())
	s := store.New(rdb, store.Options{LastGood: 2})
	for i := range 10 {
		set(t, rdb, fmt.Sprint("tenant:config:", i), "{")
		load(t, s, fmt.Sprint(i))
	}
	checkUnusable(t, s, "tenant:config:8", "tenant:config:9")
}
