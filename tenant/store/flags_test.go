package store_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"arrakis/tenant"
	"arrakis/tenant/store"
)

func TestFlags(t *testing.T) {
	t.Parallel()
	for _, b := range backends {
		t.Run(b.name, func(t *testing.T) {
			t.Parallel()
			rdb := b.open(t)
			s, log := newStore(rdb)
			ctx := t.Context()
			if flags, err := s.Flags(ctx); err != nil || len(flags.Enabled(&tenant.Tenant{ID: "comm"})) != 0 {
				t.Fatalf("no flags: %v, %v", flags, err)
			}
			var v store.Version
			for _, id := range []string{"b", "a", "off", "broken"} {
				f, version, err := s.PutFlag(ctx, tenant.Flag{ID: id, Enabled: id != "off"}, store.PutOptions{IfNoneMatch: true})
				if err != nil || f.ID != id {
					t.Fatalf("PutFlag = %+v, %v", f, err)
				}
				v = version
			}
			if _, _, err := s.PutFlag(ctx, tenant.Flag{ID: "a"}, store.PutOptions{IfMatch: v}); !errors.Is(err, store.ErrConflict) {
				t.Errorf("PutFlag with a version of another = %v, want ErrConflict", err)
			}
			enabled := func() []string {
				t.Helper()
				flags, err := s.Flags(ctx)
				if err != nil {
					t.Fatal(err)
				}
				return flags.Enabled(&tenant.Tenant{ID: "comm"})
			}
			if diff := cmp.Diff([]string{"a", "b", "broken"}, enabled()); diff != "" {
				t.Errorf("enabled (-want +got):\n%s", diff)
			}
			if err := rdb.HSet(ctx, "arrakis:flags", "broken", "{", "worse", "{", "bad id", "{}").Err(); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff([]string{"a", "b", "broken"}, enabled()); diff != "" {
				t.Errorf("with bad documents, enabled (-want +got):\n%s", diff)
			}
			if n := strings.Count(log.String(), "level=ERROR"); n != 2 {
				t.Errorf("%d errors in the log, want one for each bad flag:\n%s", n, log)
			}
			var stored *store.StoredError
			if _, _, err := s.GetFlag(ctx, "broken"); !errors.As(err, &stored) || stored.Key != "arrakis:flags broken" {
				t.Errorf("GetFlag = %v, want a StoredError that names the field", err)
			}
			entries, err := s.ListFlags(ctx)
			if err != nil || len(entries) != 5 || entries[0].ID != "a" || entries[2].Err == nil {
				t.Errorf("ListFlags = %+v, %v", entries, err)
			}
			_, current, err := s.GetFlag(ctx, "a")
			if err != nil {
				t.Fatal(err)
			}
			if err := s.DeleteFlag(ctx, "a", v); !errors.Is(err, store.ErrConflict) {
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
}

func TestTooManyFlags(t *testing.T) {
	t.Parallel()
	for _, b := range backends {
		t.Run(b.name, func(t *testing.T) {
			t.Parallel()
			rdb := b.open(t)
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
			if _, err := s.Flags(t.Context()); err == nil {
				t.Error("too many flags are read")
			}
		})
	}
}
