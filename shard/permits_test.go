package shard

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"arrakis/tenant"
	"arrakis/tenant/store"
)

// TestF6PermitsOfTwoTenantKeys guards against F6: an event ID that is sent under each tenant key of a community is
// charged for each. A message that comes again under its own key is charged once.
func TestF6PermitsOfTwoTenantKeys(t *testing.T) {
	b := setup(t, Options{Shards: 2})
	var notes []*note
	for i := range 12 {
		guild := fmt.Sprintf("guild%d", i)
		if _, _, err := b.store.Put(t.Context(), guild, tenant.Config{CommunityID: "c1", Tier: tenant.Free}, store.PutOptions{}); err != nil {
			t.Fatal(err)
		}
		notes = append(notes, commandOf(guild, "e1"))
	}
	if got := b.allowed(append(notes, commandOf("c1", "e1"))...); got != 10 {
		t.Errorf("%d of 13 admitted under one event ID, want the community's limit of 10", got)
	}
	if id := notes[0].admission.permitID(); !strings.Contains(id, " ") {
		t.Errorf("the permit %q can be an event ID of the community's own key", id)
	}
	again := 0
	for _, n := range notes {
		if n.admission.Verdict.Allowed {
			repeated := commandOf(n.admission.TenantKey, "e1")
			repeated.admission.Repeated = true
			again += b.allowed(repeated)
		}
	}
	if again < 9 {
		t.Errorf("%d messages that were delivered again found their permit, want all of at least 9", again)
	}
}

// TestF6PermitNamedLikeAnother guards against F6: an event ID of the community that begins like a guild is not the
// guild's event ID.
func TestF6PermitNamedLikeAnother(t *testing.T) {
	b := setup(t, Options{Shards: 1})
	if _, _, err := b.store.Put(t.Context(), "guild", tenant.Config{CommunityID: "c1", Tier: tenant.Free}, store.PutOptions{}); err != nil {
		t.Fatal(err)
	}
	admitted := 0
	for i := range 10 {
		id := fmt.Sprintf("e%d", i)
		admitted += b.allowed(commandOf("guild", id), commandOf("c1", "guild/"+id))
	}
	if admitted != 10 {
		t.Errorf("%d of 20 messages admitted, want the community's limit of 10", admitted)
	}
}

// TestF6RunHasItsOwnPermit guards against F6: a message that may not use the permit of an earlier one with its event ID
// is charged, until the limit is used up. When it is delivered again, it is not charged again.
func TestF6RunHasItsOwnPermit(t *testing.T) {
	b := setup(t, Options{Shards: 1})
	run := func(i int, repeated bool) *note {
		n := commandOf("c1", "e1")
		n.admission.Repeated = repeated
		if !repeated {
			n.admission.Run = fmt.Sprint("run", i)
		}
		return n
	}
	admitted := 0
	for i := range 15 {
		admitted += b.allowed(run(i, false))
		if i < 10 && b.allowed(run(i, true)) != 1 {
			t.Errorf("run %d was delivered again and not admitted", i)
		}
	}
	if admitted != 10 {
		t.Errorf("%d of 15 runs admitted, want the limit of 10", admitted)
	}
	last := b.send(run(15, false))[0].admission.Verdict
	if last.Allowed || last.RetryAfter <= 0 {
		t.Errorf("%+v, want a rejection", last)
	}
	if members, err := b.redis.ZMembers("ratelimit:c1:command"); err != nil || len(members) != 10 || !slices.Contains(members, "e1") {
		t.Errorf("permits %q, %v; want 10, the first under the event ID", members, err)
	}
}

func TestUserLimit(t *testing.T) {
	b := setup(t, Options{Shards: 2})
	three := int64(3)
	c := tenant.Config{Tier: tenant.Free}
	c.RateLimits.UserCommandsPerMinute = &three
	if _, _, err := b.store.Put(t.Context(), "c1", c, store.PutOptions{}); err != nil {
		t.Fatal(err)
	}
	by := func(user string, from, to int) (notes []*note) {
		for _, n := range commands("c1", from, to) {
			n.admission.User = user
			notes = append(notes, n)
		}
		return notes
	}
	if got := b.allowed(by("ann", 0, 8)...); got != 3 {
		t.Errorf("ann: %d admitted, want 3", got)
	}
	refused := b.send(by("ann", 8, 9)...)[0].admission
	if refused.LimitedBy != tenant.UserCommand || refused.Verdict.RetryAfter <= 0 || refused.Verdict.Limit != 3 {
		t.Errorf("refused by %s: %+v", refused.LimitedBy, refused.Verdict)
	}
	for i, user := range []string{"bob", "cid"} {
		if got := b.allowed(by(user, 10*(i+1), 10*(i+1)+5)...); got != 3 {
			t.Errorf("%s: %d admitted, want 3", user, got)
		}
	}
	// One permit of the community is left. What it refuses must not cost the user.
	if got := b.allowed(by("dan", 50, 53)...); got != 1 {
		t.Errorf("dan: %d admitted, want 1", got)
	}
	if n, err := b.redis.ZMembers("ratelimit:" + UserKey("c1", "dan")); err != nil || len(n) != 1 {
		t.Errorf("dan holds %v, want one permit: the others were given back (%v)", n, err)
	}
	if n, err := b.redis.ZMembers("ratelimit:" + Key("c1", tenant.Command)); err != nil || len(n) != 10 {
		t.Errorf("the community holds %d permits, want 10 (%v)", len(n), err)
	}
}

// TestAdmittedIsNotChargedAgain: a message that was admitted before keeps its verdict, and costs neither the community
// nor its user a permit, although nothing is left.
func TestAdmittedIsNotChargedAgain(t *testing.T) {
	b := setup(t, Options{Shards: 1})
	for i := range 10 {
		b.allowed(commandOf("c1", fmt.Sprint("e", i)))
	}
	again := commandOf("c1", "new")
	again.admission.Admitted = true
	again.admission.Verdict.Limit, again.admission.Verdict.Remaining = 10, 3
	if got := b.allowed(again, commandOf("c1", "other")); got != 1 {
		t.Errorf("%d of 2 allowed, want the one that was admitted before", got)
	}
	if v := again.admission.Verdict; !v.Allowed || v.Remaining != 3 || again.admission.Charged() {
		t.Errorf("its verdict is %+v", v)
	}
}
