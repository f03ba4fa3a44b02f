package shard

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"arrakis/tenant"
)

func TestLimitsByTier(t *testing.T) {
	b := setup(t, Options{Shards: 4})
	for id, tier := range map[string]tenant.Tier{"pro": tenant.Pro, "ent": tenant.Enterprise} {
		if _, _, err := b.store.UpgradeTier(t.Context(), id, tier); err != nil {
			t.Fatal(err)
		}
	}
	for id, want := range map[string]int{"nobody": 10, "pro": 100, "ent": 200} {
		if got := b.allowed(commands(id, 0, 200)...); got != want {
			t.Errorf("%s: %d of 200 admitted, want %d", id, got, want)
		}
	}
}

func TestOrderWithinACommunity(t *testing.T) {
	b := setup(t, Options{Shards: 3, Mailbox: 7})
	var notes []*note
	for i := range 300 {
		notes = append(notes, commandOf(fmt.Sprintf("c%d", i%5), fmt.Sprintf("%03d", i)))
	}
	last := map[string]string{}
	for _, n := range b.send(notes...) {
		if r := &n.admission; r.ID <= last[r.TenantKey] {
			t.Errorf("%s: %s came after %s", r.TenantKey, r.ID, last[r.TenantKey])
		} else {
			last[r.TenantKey] = r.ID
		}
	}
}

func TestUnlimitedMessagesOnlyGetTheirTenant(t *testing.T) {
	b := setup(t, Options{Shards: 2})
	n := commandOf("c1", "e1")
	n.admission.Limited = false
	got := b.send(n)[0]
	if !got.admission.Verdict.Allowed || got.admission.Tenant == nil || got.admission.Tenant.ID != "c1" {
		t.Errorf("request %+v", got.admission)
	}
	if keys := b.redis.Keys(); len(keys) != 0 {
		t.Errorf("Redis holds %v", keys)
	}
}

// What resolved exempts from its limit is not charged. It knows the tenant by then, and no limit has been asked.
func TestResolvedExempts(t *testing.T) {
	b := setup(t, Options{Shards: 1})
	if _, _, err := b.store.UpgradeTier(t.Context(), "pro", tenant.Pro); err != nil {
		t.Fatal(err)
	}
	b.resolved = func(batch []*note) {
		for _, n := range batch {
			n.admission.Limited = n.admission.Tenant.Tier == tenant.Pro
		}
	}
	b.send(commandOf("pro", "e1"), commandOf("free", "e2"))
	if keys := b.redis.Keys(); !slices.Contains(keys, "ratelimit:pro:command") || slices.Contains(keys, "ratelimit:free:command") {
		t.Errorf("Redis holds %v, want the permit of pro alone", keys)
	}
}

func TestOptionsReportEveryFault(t *testing.T) {
	_, err := NewPool[*note](Options{Mailbox: -1, CacheTTL: -1})
	if err == nil {
		t.Fatal("no error")
	}
	for _, field := range []string{"Tenants", "Limits", "Shards", "Mailbox", "CacheSize", "CacheTTL", "Logger"} {
		if !strings.Contains(err.Error(), field) {
			t.Errorf("%q does not name %s", err, field)
		}
	}
}

// Run ends with its context, and what it has not passed on is left in Abandoned: the batch in hand and the mailboxes.
func TestRunEndsWithItsContext(t *testing.T) {
	b := setup(t, Options{Shards: 2})
	pool, err := NewPool[*note](full(Options{Tenants: b.store, Limits: b.limits}))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	taken := make(chan struct{})
	var g sync.WaitGroup
	g.Go(func() {
		err := pool.Run(ctx, func([]*note) {}, func(ctx context.Context, _ []*note) error {
			close(taken)
			<-ctx.Done() // a stage behind that never takes
			return ctx.Err()
		})
		if err == nil {
			t.Error("Run returned nil although a batch was abandoned")
		}
	})
	s := pool.Sorter()
	var want []string
	for i := range 3 {
		id := fmt.Sprintf("e%d", i)
		s.Add(commandOf("c1", id))
		if err := s.Flush(ctx); err != nil {
			t.Fatal(err)
		}
		want = append(want, id)
		if i == 0 {
			<-taken
		}
	}
	cancel()
	pool.Close()
	g.Wait()
	var got []string
	for m := range pool.Abandoned() {
		got = append(got, m.Admission().ID)
	}
	if !slices.Equal(got, want) {
		t.Errorf("%v are abandoned, want %v", got, want)
	}
}
