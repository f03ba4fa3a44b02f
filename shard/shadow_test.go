package shard

import (
	"testing"

	"arrakis/tenant"
	"arrakis/tenant/store"
)

// TestLetPass: a shard decides for a tenant in shadow mode as for any other. What it has refused passes without a permit.
func TestLetPass(t *testing.T) {
	b := setup(t, Options{Shards: 1})
	shadow := tenant.Shadow
	c := tenant.Config{Tier: tenant.Free, Mode: &shadow}
	c.RateLimits.CommandsPerMinute, c.RateLimits.UserCommandsPerMinute = new(int64(2)), new(int64(1))
	if _, _, err := b.store.Put(t.Context(), "c1", c, store.PutOptions{}); err != nil {
		t.Fatal(err)
	}
	by := func(user, id string) *note {
		n := commandOf("c1", id)
		n.admission.User = user
		return n
	}
	notes := b.send(by("ann", "e1"), by("ann", "e2"), by("bob", "e3"), by("cid", "e4"))
	for i, want := range []struct {
		allowed bool
		by      tenant.Action // whose limit decides
	}{{true, tenant.Command}, {false, tenant.UserCommand}, {true, tenant.Command}, {false, tenant.Command}} {
		a := &notes[i].admission
		if a.Verdict.Allowed != want.allowed || a.LimitedBy != want.by || a.Shadowed {
			t.Errorf("%s: allowed %t by %s", a.ID, a.Verdict.Allowed, a.LimitedBy)
		}
		if want.allowed {
			continue
		}
		if !a.LetPass() || !a.Shadowed || !a.Verdict.Allowed || a.LimitedBy != want.by || a.Charged() || a.Permit() != "" {
			t.Errorf("%s passes as %+v, charged %t", a.ID, a.Verdict, a.Charged())
		}
	}
	if _, _, err := b.store.UpgradeTier(t.Context(), "c2", tenant.Free); err != nil {
		t.Fatal(err)
	}
	over := b.send(commands("c2", 0, 11)...)[10]
	if over.admission.LetPass() || over.admission.Shadowed || over.admission.Verdict.Allowed {
		t.Errorf("without shadow mode: %+v", over.admission)
	}
}
