package store_test

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"

	"arrakis/loadtest/testserver"
	"arrakis/tenant"
	"arrakis/tenant/store"
)

// TestDocuments: what a caller reads in a round trip of its own is what the store reads by itself.
func TestDocuments(t *testing.T) {
	t.Parallel()
	testserver.EveryRedis(t, func(t *testing.T, rdb redis.UniversalClient) {
		s, _ := newStore(rdb)
		read := func() store.Documents {
			t.Helper()
			var replies [3]*redis.Cmd
			for i, r := range store.DocumentReads("c1") {
				replies[i] = rdb.Do(t.Context(), r.Command, r.Key)
			}
			d, err := s.Documents(t.Context(), "c1", replies)
			if err != nil {
				t.Fatal(err)
			}
			return d
		}
		nobody := &tenant.Tenant{ID: "c1", Tier: tenant.Free}
		if d := read(); d.Config != nil || d.Tiers.Free.Weight != nil || d.Flags.Enabled(nobody) != nil || d.Unusable != nil {
			t.Errorf("without documents: %+v", d)
		}
		set(t, rdb, "tenant:config:c1", `{"tier":"pro"}`)
		set(t, rdb, "arrakis:tiers", `{"free":{"weight":3}}`)
		if err := rdb.HSet(t.Context(), "arrakis:flags", "b", `{"id":"b","enabled":true}`, "a", `{"id":"a","enabled":true}`, "a b", `{}`).Err(); err != nil {
			t.Fatal(err)
		}
		d := read()
		if d.Config.Tier != tenant.Pro || *d.Tiers.Free.Weight != 3 || d.Unusable != nil {
			t.Errorf("%+v", d)
		}
		if diff := cmp.Diff([]string{"a", "b"}, d.Flags.Enabled(nobody)); diff != "" {
			t.Errorf("flags (-want +got):\n%s", diff)
		}
		if s.Tiers().Free.Weight != nil {
			t.Error("reading has put the tiers in force")
		}
		for _, key := range []string{"tenant:config:c1", "arrakis:tiers", "arrakis:flags"} {
			if err := errors.Join(rdb.Del(t.Context(), key).Err(), rdb.RPush(t.Context(), key, "x").Err()); err != nil {
				t.Fatal(err)
			}
		}
		if d = read(); d.Config != nil || !cmp.Equal(d.Unusable, []string{"arrakis:tiers", "arrakis:flags"}) {
			t.Errorf("of other types: %+v", d)
		}
		var failed [3]*redis.Cmd
		for i := range failed {
			failed[i] = redis.NewCmd(t.Context())
			failed[i].SetErr(errors.New("broken"))
		}
		if _, err := s.Documents(t.Context(), "c1", failed); err == nil {
			t.Error("an error of Redis is not returned")
		}
	})
}
