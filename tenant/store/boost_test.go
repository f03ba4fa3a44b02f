package store_test

import (
	"errors"
	"testing"
	"time"

	"arrakis/tenant"
	"arrakis/tenant/store"
)

func boostOf(t *testing.T, document string) tenant.BoostRequest {
	t.Helper()
	r, err := tenant.ParseBoostRequest([]byte(document))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// A boost ends so long after the time at which it was stored, whatever the clock of the process says.
func TestBoost(t *testing.T) {
	t.Parallel()
	everyHome(t, func(t *testing.T, h home) {
		s, _ := h.store()
		ctx := t.Context()
		commands := boostOf(t, `{"rateLimits":{"commandsPerMinute":5},"for":"2h"}`)
		before := h.rdb.Time(ctx).Val().Truncate(time.Millisecond)
		made, v1, err := s.Boost(ctx, "a", commands, store.PutOptions{})
		if err != nil {
			t.Fatal(err)
		}
		after := h.rdb.Time(ctx).Val()
		b := made.Boosts.CommandsPerMinute
		if begun := b.Until.Add(-2 * time.Hour); b.Add != 5 || begun.Before(before) || begun.After(after) || made.Tier != tenant.Free {
			t.Errorf("%+v, want a boost of 5 for 2 h from a time between %v and %v", made, before, after)
		}
		both, v2, err := s.Boost(ctx, "a", boostOf(t, `{"rateLimits":{"syncRequestsPerDay":1},"for":"1s"}`), store.PutOptions{IfMatch: v1})
		if err != nil || both.Boosts.CommandsPerMinute.Add != 5 || both.Boosts.SyncRequestsPerDay.Add != 1 {
			t.Errorf("%+v, %v, want both boosts", both, err)
		}
		upgraded, v3, err := s.UpgradeTier(ctx, "a", tenant.Pro)
		if err != nil || v3 == v2 || upgraded.Boosts.CommandsPerMinute.Add != 5 {
			t.Errorf("%+v, %v, want the boost after the upgrade too", upgraded, err)
		}
		for _, end := range []func() error{
			func() error { _, _, err := s.Boost(ctx, "a", commands, store.PutOptions{IfMatch: v1}); return err },
			func() error { _, _, err := s.EndBoosts(ctx, "a", store.PutOptions{IfMatch: v1}); return err },
		} {
			if err := end(); !errors.Is(err, store.ErrConflict) {
				t.Errorf("with a version that is gone: %v, want ErrConflict", err)
			}
		}
		ended, v4, err := s.EndBoosts(ctx, "a", store.PutOptions{IfMatch: v3})
		if err != nil || ended.Boosts != nil || ended.Tier != tenant.Pro {
			t.Errorf("%+v, %v, want no boosts", ended, err)
		}
		for _, id := range []string{"a", "nobody"} {
			if _, _, err := s.EndBoosts(ctx, id, store.PutOptions{}); !errors.Is(err, store.ErrNotFound) {
				t.Errorf("end of no boost of %s: %v, want ErrNotFound", id, err)
			}
		}
		if _, v, err := s.Get(ctx, "a"); v != v4 || err != nil {
			t.Errorf("the end of no boost leaves version %q, %v, want %q", v, err, v4)
		}
		if _, _, err := s.Get(ctx, "nobody"); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("the end of no boost makes a config: %v", err)
		}
		var field *tenant.FieldError
		if _, _, err := s.Boost(ctx, "a", tenant.BoostRequest{For: "1h"}, store.PutOptions{}); !errors.As(err, &field) || field.Field != "rateLimits" {
			t.Errorf("a boost of nothing: %v, want a FieldError", err)
		}
	})
}
