package shard

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/redis/go-redis/v9"

	"arrakis/limiter"
	"arrakis/limiter/redishealth"
	"arrakis/loadtest/testserver"
	"arrakis/tenant"
	"arrakis/tenant/store"
)

// note is the tests' message.
type note struct{ admission Admission }

func (n *note) Admission() *Admission { return &n.admission }

func commandOf(community, id string) *note {
	return &note{Admission{TenantKey: community, Action: tenant.Command, Limited: true, ID: id}}
}

// bundle is a pool on miniredis whose batches are collected.
type bundle struct {
	t      *testing.T
	redis  *miniredis.Miniredis
	store  *store.Store
	limits *limiter.Limiter
	pool   *Pool[*note]
	out    chan *note
}

// full returns o with everything that a test does not care about.
func full(o Options) Options {
	o.Shards = cmp.Or(o.Shards, 64)
	o.Mailbox = cmp.Or(o.Mailbox, 1024)
	o.CacheSize = cmp.Or(o.CacheSize, 100_000)
	o.CacheTTL = cmp.Or(o.CacheTTL, 30*time.Second)
	o.Logger = slog.New(slog.DiscardHandler)
	return o
}

func setup(t *testing.T, o Options) *bundle {
	t.Helper()
	b := &bundle{t: t, redis: testserver.Miniredis(t)}
	rdb := redis.NewClient(&redis.Options{Addr: b.redis.Addr(), ContextTimeoutEnabled: true, MaxRetries: -1})
	t.Cleanup(func() { _ = rdb.Close() })
	b.store = store.New(rdb, store.Options{Source: "test"})
	health, err := redishealth.New(rdb, redishealth.Options{Timeout: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	if b.limits, err = limiter.New(rdb, limiter.Options{Health: health}); err != nil {
		t.Fatal(err)
	}
	return start(t, b, o)
}

// start runs a pool on the bundle's store and limits until the test ends.
func start(t *testing.T, b *bundle, o Options) *bundle {
	t.Helper()
	b.out = make(chan *note, 100_000)
	o.Tenants, o.Limits = b.store, b.limits
	var err error
	if b.pool, err = NewPool[*note](full(o)); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() {
		done <- b.pool.Run(context.Background(), func(_ context.Context, batch []*note) error {
			for _, n := range batch {
				b.out <- n
			}
			return nil
		})
	}()
	t.Cleanup(func() {
		b.pool.Close()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	return b
}

// send puts notes and waits for their verdicts, in the order in which they left.
func (b *bundle) send(notes ...*note) []*note {
	b.t.Helper()
	s := b.pool.Sorter()
	for _, n := range notes {
		s.Add(n)
	}
	if err := s.Flush(b.t.Context()); err != nil {
		b.t.Fatal(err)
	}
	got := make([]*note, len(notes))
	for i := range got {
		got[i] = <-b.out
	}
	return got
}

func (b *bundle) allowed(notes ...*note) int {
	b.t.Helper()
	n := 0
	for _, got := range b.send(notes...) {
		if got.admission.Verdict.Allowed {
			n++
		}
	}
	return n
}

func commands(community string, from, to int) (notes []*note) {
	for i := from; i < to; i++ {
		notes = append(notes, commandOf(community, fmt.Sprintf("e%d", i)))
	}
	return notes
}

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

// An upgrade counts for the very next message, also of a community that is blocked at that moment; a downgrade
// likewise.
func TestChangeOfTierCountsForTheNextMessage(t *testing.T) {
	b := setup(t, Options{Shards: 4, CacheTTL: time.Hour})
	if got := b.allowed(commands("c1", 0, 50)...); got != 10 {
		t.Fatalf("%d admitted as free, want 10", got)
	}
	change := func(tier tenant.Tier) {
		t.Helper()
		if _, _, err := b.store.UpgradeTier(t.Context(), "c1", tier); err != nil {
			t.Fatal(err)
		}
		if err := b.pool.Notify(t.Context(), tenant.Event{Type: tenant.TenantChanged, TargetID: "c1"}); err != nil {
			t.Fatal(err)
		}
	}
	change(tenant.Pro)
	if got := b.allowed(commands("c1", 100, 300)...); got != 90 {
		t.Errorf("%d admitted after the upgrade, want the 90 that are left of 100", got)
	}
	change(tenant.Free)
	if got := b.allowed(commands("c1", 300, 310)...); got != 0 {
		t.Errorf("%d admitted after the downgrade, want none", got)
	}
}

func TestResetReachesLocalWindows(t *testing.T) {
	b := setup(t, Options{Shards: 4})
	for _, id := range []string{"guild-1", "guild-2"} {
		if _, _, err := b.store.Put(t.Context(), id, tenant.Config{CommunityID: "all", Tier: tenant.Free}, store.PutOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	if got := b.allowed(append(commands("guild-1", 0, 20), commands("guild-2", 20, 40)...)...); got != 10 {
		t.Fatalf("%d admitted, want 10", got)
	}
	if err := b.limits.Reset(t.Context(), Key("all", tenant.Command)); err != nil {
		t.Fatal(err)
	}
	if err := b.pool.Notify(t.Context(), tenant.Event{Type: tenant.LimitReset, TargetID: "all:command"}); err != nil {
		t.Fatal(err)
	}
	// Both guilds' windows, on whatever shards they are, have to forget.
	if got := b.allowed(commands("guild-2", 40, 45)...); got != 5 {
		t.Errorf("guild-2: %d admitted after the reset, want 5", got)
	}
	if got := b.allowed(commands("guild-1", 45, 55)...); got != 5 {
		t.Errorf("guild-1: %d admitted after the reset, want 5", got)
	}
}

func TestGuildMovesToAnotherCommunity(t *testing.T) {
	b := setup(t, Options{Shards: 2})
	if got := b.allowed(commands("guild", 0, 20)...); got != 10 {
		t.Fatalf("%d admitted, want 10", got)
	}
	if _, _, err := b.store.Put(t.Context(), "guild", tenant.Config{CommunityID: "other", Tier: tenant.Free}, store.PutOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := b.pool.Notify(t.Context(), tenant.Event{Type: tenant.TenantChanged, TargetID: "guild"}); err != nil {
		t.Fatal(err)
	}
	if got := b.allowed(commands("guild", 20, 40)...); got != 10 {
		t.Errorf("%d admitted as another community, want its 10", got)
	}
	if n, err := b.redis.ZMembers("ratelimit:other:command"); err != nil || len(n) != 10 {
		t.Errorf("the other community holds %d permits (%v)", len(n), err)
	}
}

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

func TestTenantsAreServedStaleWhileRedisIsAway(t *testing.T) {
	b := setup(t, Options{Shards: 1, CacheTTL: time.Millisecond})
	if _, _, err := b.store.UpgradeTier(t.Context(), "ent", tenant.Enterprise); err != nil {
		t.Fatal(err)
	}
	b.send(commandOf("ent", "e0"))
	b.redis.Close()
	for i := range 3 {
		got := b.send(commandOf("ent", fmt.Sprintf("e%d", i+1)))[0].admission
		if got.Tenant.Tier != tenant.Enterprise || !got.Verdict.Allowed {
			t.Errorf("tenant %+v, verdict %+v", got.Tenant, got.Verdict)
		}
	}
	if got := b.send(commandOf("stranger", "e9"))[0].admission; got.Tenant.Tier != tenant.Free {
		t.Errorf("an unknown community is %s, want free", got.Tenant.Tier)
	}
	if err := b.redis.Restart(); err != nil {
		t.Fatal(err)
	}
}

// A change that concerns all tenants makes each be read again once, by the batch that its message comes in, and not all
// at the same moment.
func TestGlobalChangeIsNoHerd(t *testing.T) {
	const tenants = 10_000
	b := setup(t, Options{Shards: 16, CacheTTL: time.Hour})
	var notes []*note
	for i := range tenants {
		n := commandOf(fmt.Sprintf("c%d", i), "e")
		n.admission.Limited = false
		notes = append(notes, n)
	}
	b.send(notes...)
	before := b.redis.CommandCount()
	if err := b.pool.Notify(t.Context(), tenant.Event{Type: tenant.GlobalChanged}); err != nil {
		t.Fatal(err)
	}
	if n := b.redis.CommandCount() - before; n != 0 {
		t.Errorf("the event itself cost %d commands, want none", n)
	}
	// The traffic of the second after the event, in which every tenant comes due: each tenant ten times, on a slow
	// machine too.
	began := time.Now()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	rounds := 0
	for ; rounds < 10 || time.Since(began) < time.Second; rounds++ {
		for i := range notes {
			notes[i] = &note{notes[i].admission}
		}
		b.send(notes...)
		<-tick.C
	}
	reads := b.redis.CommandCount() - before
	t.Logf("%d reads for %d messages of %d tenants", reads, rounds*tenants, tenants)
	if reads == 0 || reads > tenants/10 {
		t.Errorf("%d reads for %d tenants, want some and at most %d", reads, tenants, tenants/10)
	}
}

func TestCacheIsBounded(t *testing.T) {
	reg := prometheus.NewRegistry()
	b := setup(t, Options{Shards: 2, CacheSize: 10, Registerer: reg})
	var notes []*note
	for i := range 1_000 {
		notes = append(notes, commandOf(fmt.Sprintf("c%d", i), "e"))
	}
	if got := b.allowed(notes...); got != len(notes) {
		t.Errorf("%d of %d admitted", got, len(notes))
	}
	for i, s := range b.pool.shards {
		if n := s.cache.Len(); n > 14 { // 5 and 4 times the root of 5
			t.Errorf("shard %d caches %d tenants, want at most 14", i, n)
		}
	}
	if n, err := testutil.GatherAndCount(reg, "arrakis_shard_mailbox_depth"); err != nil || n != 2 {
		t.Errorf("%d depths, want 2 (%v)", n, err)
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
		err := pool.Run(ctx, func(ctx context.Context, _ []*note) error {
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
