package store_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"

	"arrakis/loadtest/testserver"
	"arrakis/tenant"
	"arrakis/tenant/store"
)

// putFlags stores flags that are enabled, but for "off", and returns the last one's version.
func putFlags(t *testing.T, s *store.Store, ids ...string) (last store.Version) {
	t.Helper()
	for _, id := range ids {
		f, v, err := s.PutFlag(t.Context(), tenant.Flag{ID: id, Enabled: id != "off"}, store.PutOptions{IfNoneMatch: true})
		if err != nil || f.ID != id {
			t.Fatalf("PutFlag = %+v, %v", f, err)
		}
		last = v
	}
	return last
}

// checkEnabled checks which flags a tenant has.
func checkEnabled(t *testing.T, s *store.Store, want ...string) {
	t.Helper()
	flags, err := s.Flags(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, flags.Enabled(&tenant.Tenant{ID: "comm"})); diff != "" {
		t.Errorf("enabled flags (-want +got):\n%s", diff)
	}
}

func TestFlagVersions(t *testing.T) {
	t.Parallel()
	everyHome(t, func(t *testing.T, h home) {
		s, _ := h.store()
		ctx := t.Context()
		checkEnabled(t, s)
		other := putFlags(t, s, "b", "a", "off", "broken")
		h.settle(t)
		checkEnabled(t, s, "a", "b", "broken")
		if _, _, err := s.PutFlag(ctx, tenant.Flag{ID: "a"}, store.PutOptions{IfMatch: other}); !errors.Is(err, store.ErrConflict) {
			t.Errorf("PutFlag with a version of another = %v, want ErrConflict", err)
		}
		_, current, err := s.GetFlag(ctx, "a")
		if err != nil {
			t.Fatal(err)
		}
		if err := s.DeleteFlag(ctx, "a", other); !errors.Is(err, store.ErrConflict) {
			t.Errorf("DeleteFlag with a version of another = %v, want ErrConflict", err)
		}
		if err := s.DeleteFlag(ctx, "a", current); err != nil {
			t.Error(err)
		}
		if _, _, err := s.GetFlag(ctx, "a"); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("GetFlag = %v, want ErrNotFound", err)
		}
		if err := s.DeleteFlag(ctx, "a", ""); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("DeleteFlag = %v, want ErrNotFound", err)
		}
	})
}

// A flag whose document goes bad stays as it was; one that was never good is off.
func TestBadFlags(t *testing.T) {
	t.Parallel()
	testserver.EveryRedis(t, func(t *testing.T, rdb redis.UniversalClient) {
		s, log := newStore(rdb)
		putFlags(t, s, "b", "a", "off", "broken")
		checkEnabled(t, s, "a", "b", "broken")
		if err := rdb.HSet(t.Context(), "arrakis:flags", "broken", "{", "worse", "{", "bad id", "{}").Err(); err != nil {
			t.Fatal(err)
		}
		checkEnabled(t, s, "a", "b", "broken")
		if n := strings.Count(log.String(), "level=ERROR"); n != 2 {
			t.Errorf("%d errors in the log, want one for each bad flag:\n%s", n, log)
		}
		var stored *store.StoredError
		if _, _, err := s.GetFlag(t.Context(), "broken"); !errors.As(err, &stored) || stored.Key != "arrakis:flags broken" {
			t.Errorf("GetFlag = %v, want a StoredError that names the field", err)
		}
		entries, err := s.ListFlags(t.Context())
		if err != nil || len(entries) != 5 || entries[0].ID != "a" || entries[2].Err == nil {
			t.Errorf("ListFlags = %+v, %v", entries, err)
		}
	})
}

func TestTooManyFlags(t *testing.T) {
	t.Parallel()
	testserver.EveryRedis(t, func(t *testing.T, rdb redis.UniversalClient) {
		s, _ := newStore(rdb)
		fields := make(map[string]any)
		for i := range store.MaxFlags {
			fields[fmt.Sprintf("f%d", i)] = fmt.Sprintf(`{"id":"f%d","enabled":true}`, i)
		}
		if err := rdb.HSet(t.Context(), "arrakis:flags", fields).Err(); err != nil {
			t.Fatal(err)
		}
		if _, _, err := s.PutFlag(t.Context(), tenant.Flag{ID: "new"}, store.PutOptions{}); err == nil {
			t.Error("one flag too many is accepted")
		}
		if _, _, err := s.PutFlag(t.Context(), tenant.Flag{ID: "f7"}, store.PutOptions{}); err != nil {
			t.Errorf("a change of a flag that is there: %v", err)
		}
		if err := rdb.HSet(t.Context(), "arrakis:flags", "new", "{}").Err(); err != nil {
			t.Fatal(err)
		}
		var bad *store.StoredError
		if _, err := s.ListFlags(t.Context()); !errors.As(err, &bad) || bad.Key != "arrakis:flags" {
			t.Errorf("ListFlags of too many = %v, want a StoredError that names the key", err)
		}
	})
}
