package shard

import (
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"arrakis/limiter"
	"arrakis/limiter/redishealth"
	"arrakis/loadtest/testserver"
	"arrakis/tenant"
	"arrakis/tenant/store"
)

// account stores an account that counts together, and tells the shards of it.
func (b *bundle) account(id string, commands int64, more func(*tenant.Account)) {
	b.t.Helper()
	a := tenant.Account{Tier: tenant.Pro, Counted: tenant.Together}
	a.RateLimits.CommandsPerMinute = &commands
	if more != nil {
		more(&a)
	}
	if _, _, err := b.store.PutAccount(b.t.Context(), id, a, store.PutOptions{}); err != nil {
		b.t.Fatal(err)
	}
	b.tell(tenant.Event{Type: tenant.AccountChanged, TargetID: id})
}

// members puts communities into an account, and tells the shards of it.
func (b *bundle) members(account string, ids ...string) {
	b.t.Helper()
	for _, id := range ids {
		if _, _, err := b.store.Put(b.t.Context(), id, tenant.Config{Tier: tenant.Free, Account: account}, store.PutOptions{}); err != nil {
			b.t.Fatal(err)
		}
		b.tell(tenant.Event{Type: tenant.TenantChanged, TargetID: id})
	}
}

func (b *bundle) tell(e tenant.Event) {
	b.t.Helper()
	if err := b.pool.Notify(b.t.Context(), e); err != nil {
		b.t.Fatal(err)
	}
}

// named returns n IDs of communities.
func named(prefix string, n int) []string {
	ids := make([]string, n)
	for i := range ids {
		ids[i] = fmt.Sprint(prefix, i)
	}
	return ids
}

// TestInvariantTogether checks I1 and I2 for an account whose communities are counted together: on two processes with
// several shards each, whatever community the messages are of, no more are admitted than the account's limit, or its limit
// with the highest boost of one of them, and no fewer. A message that is delivered again is charged once.
func TestInvariantTogether(t *testing.T) {
	t.Parallel()
	const limit, boost, communities, messages = int64(300), 40, 12, 100
	addr := testserver.Redis(t).Addr()
	var processes []*bundle
	for range 2 {
		rdb := testserver.ConnectRedis(t, addr)
		health, err := redishealth.New(rdb, redishealth.Options{Timeout: time.Minute})
		if err != nil {
			t.Fatal(err)
		}
		limits, err := limiter.New(rdb, limiter.Options{Health: health})
		if err != nil {
			t.Fatal(err)
		}
		b := &bundle{t: t, store: store.New(rdb, store.Options{Source: "test"}), limits: limits}
		processes = append(processes, start(t, b, Options{Shards: 4}))
	}
	ids := named("c", communities)
	processes[0].account("acme", 0, func(a *tenant.Account) { a.RateLimits.SyncRequestsPerDay = new(limit) })
	processes[0].members("acme", ids...)
	admitted := sendAll(t, processes, ids, messages)
	if got := admitted.Load(); got != limit {
		t.Errorf("%d of %d messages of %d communities are admitted, want the account's limit of %d", got, 2*communities*messages, communities, limit)
	}
	processes[0].boost("c0", `{"rateLimits":{"syncRequestsPerDay":40},"for":"24h"}`)
	processes[0].boost("c1", `{"rateLimits":{"syncRequestsPerDay":9},"for":"24h"}`)
	for _, b := range processes {
		b.tell(tenant.Event{Type: tenant.TenantChanged, TargetID: "c0"})
		b.tell(tenant.Event{Type: tenant.TenantChanged, TargetID: "c1"})
	}
	admitted = sendAll(t, processes, ids, 2*messages) // half of them again
	if got := admitted.Load(); got != limit+boost {
		t.Errorf("%d messages are admitted with boosts of 40 and 9, want %d", got, limit+boost)
	}
}

// sendAll sends n messages of each community to each process, at the same time, and counts those that are admitted. The
// first half of them may have been sent before.
func sendAll(t *testing.T, processes []*bundle, ids []string, n int) *atomic.Int64 {
	t.Helper()
	var admitted atomic.Int64
	var wg sync.WaitGroup
	for p, b := range processes {
		wg.Go(func() {
			for from := 0; from < n; from += 10 {
				var notes []*note
				for i := from; i < from+10; i++ {
					for _, id := range ids {
						note := commandOf(id, fmt.Sprintf("p%d-e%d", p, i))                       // the same under each community: each is charged
						note.admission.Action, note.admission.Repeated = tenant.SyncRequest, true // a day does not end meanwhile
						notes = append(notes, note)
					}
				}
				admitted.Add(int64(b.allowed(notes...)))
			}
		})
	}
	wg.Wait()
	return &admitted
}

// A change of an account is in force for the next message of its communities, on whatever shard, without a change of
// their configs; and no other community is read again.
func TestInvariantLiveAccount(t *testing.T) {
	t.Parallel()
	b := setup(t, Options{Shards: 4, CacheTTL: time.Hour})
	ids := named("c", 9)
	b.account("acme", 5, nil)
	b.members("acme", ids[:8]...)
	limits := func() (limits []int64) {
		for i, id := range ids {
			n := b.send(commandOf(id, fmt.Sprint("e", i, time.Now().UnixNano())))[0]
			limits = append(limits, n.admission.Verdict.Limit)
		}
		return limits
	}
	same := func(n int64) []int64 { return append(slices.Repeat([]int64{n}, 8), 10) }
	if diff := cmp.Diff(same(5), limits()); diff != "" {
		t.Fatalf("limits of the account's communities, and one more (-want +got):\n%s", diff)
	}
	b.account("acme", 70, nil)
	if diff := cmp.Diff(same(70), limits()); diff != "" {
		t.Errorf("after a change of the account (-want +got):\n%s", diff)
	}
	if err := b.store.DeleteAccount(t.Context(), "acme", "", store.EvenIfUsed); err != nil {
		t.Fatal(err)
	}
	b.tell(tenant.Event{Type: tenant.AccountChanged, TargetID: "acme"})
	if diff := cmp.Diff(same(10), limits()); diff != "" {
		t.Errorf("after the account is deleted (-want +got):\n%s", diff)
	}
	b.account("acme", 33, nil) // those who still name it are known
	if diff := cmp.Diff(same(33), limits()); diff != "" {
		t.Errorf("after the account is made again (-want +got):\n%s", diff)
	}
	used := b.redis.Exists("tenant:config:" + ids[8])
	if err := b.redis.Set("tenant:config:"+ids[8], `{"tier":"pro"}`); used || err != nil {
		t.Fatal(used, err)
	}
	b.account("acme", 34, nil)
	if got := limits()[8]; got != 10 {
		t.Errorf("a community of no account has been read again: its limit is %d", got)
	}
}

// What a shard knows of a full window is of the key that was counted: it is forgotten when the account counts otherwise.
func TestCountingChanges(t *testing.T) {
	t.Parallel()
	b := setup(t, Options{Shards: 2, CacheTTL: time.Hour})
	b.account("acme", 10, nil)
	b.members("acme", "c1", "c2")
	if got := b.allowed(append(commands("c1", 0, 8), commands("c2", 0, 8)...)...); got != 10 {
		t.Fatalf("%d admitted together, want 10", got)
	}
	each := func(a *tenant.Account) { a.Counted = tenant.Each }
	b.account("acme", 10, each)
	if got := b.allowed(append(commands("c1", 20, 40), commands("c2", 20, 40)...)...); got != 20 {
		t.Errorf("%d admitted of two communities by 10 each, want 20", got)
	}
	b.account("acme", 10, nil)
	if got := b.allowed(append(commands("c1", 40, 50), commands("c2", 40, 50)...)...); got != 0 {
		t.Errorf("%d admitted when they count together again, want none", got)
	}
	b.account("acme", 13, nil)
	if got := b.allowed(append(commands("c1", 50, 60), commands("c2", 50, 60)...)...); got != 3 {
		t.Errorf("%d admitted under a limit of 3 more, want 3", got)
	}
}

// Users have their limits in each community, whatever the account counts.
func TestUsersOfAnAccount(t *testing.T) {
	t.Parallel()
	b := setup(t, Options{Shards: 2})
	b.account("acme", 100, func(a *tenant.Account) { a.RateLimits.UserCommandsPerMinute = new(int64(2)) })
	b.members("acme", "c1", "c2")
	for _, community := range []string{"c1", "c2"} {
		notes := commands(community, 0, 5)
		for _, n := range notes {
			n.admission.User = "ann"
		}
		if got := b.allowed(notes...); got != 2 {
			t.Errorf("%s: %d of ann's commands are admitted, want 2", community, got)
		}
	}
	if keys := b.redis.Keys(); !slices.Contains(keys, "ratelimit:c1:user_command/ann") || !slices.Contains(keys, "ratelimit:c2:user_command/ann") {
		t.Errorf("keys %v", keys)
	}
	if used := b.usage("c1").Used; used != 4 {
		t.Errorf("the account has used %d, want the 4 of both communities", used)
	}
}

// A reset of a community whose account counts together frees the permits of all its communities, wherever it is known that
// they are used up, and of users only those of the community.
func TestResetTogether(t *testing.T) {
	t.Parallel()
	counted := []string{"command", "eligibility_check", "sync_request"}
	for _, tt := range []struct {
		actions  []tenant.Action
		events   []string
		want     Reset
		ann, bob int // commands that are admitted then: of ann, who has used up her limit, and of bob
	}{
		{[]tenant.Action{tenant.Command}, []string{"@acme:command"}, Reset{Community: "c1", Actions: counted[:1], Account: "acme"}, 0, 6},
		{[]tenant.Action{tenant.UserCommand}, []string{"c1:user_command"}, Reset{Community: "c1", Actions: []string{"user_command"}}, 0, 0},
		{
			nil,
			[]string{"@acme:command", "@acme:eligibility_check", "@acme:sync_request", "c1:user_command"},
			Reset{Community: "c1", Actions: append(counted, "user_command"), Account: "acme"},
			3, 3,
		},
	} {
		b := setup(t, Options{Shards: 4})
		other := start(t, &bundle{t: t, redis: b.redis, store: b.store, limits: b.limits}, Options{Shards: 4})
		b.account("acme", 6, func(a *tenant.Account) { a.RateLimits.UserCommandsPerMinute = new(int64(3)) })
		b.members("acme", "c1", "c2")
		serial := 0
		send := func(process *bundle, user string) (admitted int) {
			for _, community := range []string{"c1", "c2"} {
				serial += 3
				notes := commands(community, serial, serial+3)
				for _, n := range notes {
					n.admission.User = user
				}
				admitted += process.allowed(notes...)
			}
			return admitted
		}
		if got := send(b, "ann"); got != 6 {
			t.Fatalf("%d admitted, want 6", got)
		}
		if got := send(b, "") + send(other, ""); got != 0 {
			t.Fatalf("%d admitted over the limit", got)
		}
		next := b.subscribed()
		limits := Limits{Tenants: b.store, Limiter: b.limits}
		done, err := limits.Reset(t.Context(), "c1", tt.actions...)
		if diff := cmp.Diff(tt.want, done); diff != "" || err != nil {
			t.Errorf("reset of %v: %v (-want +got):\n%s", tt.actions, err, diff)
		}
		for _, target := range tt.events {
			e := next()
			if e.Type != tenant.LimitReset || e.TargetID != target {
				t.Errorf("reset of %v: the event %+v, want the target %s", tt.actions, e, target)
			}
			b.tell(e)
			other.tell(e)
		}
		if ann, bob := send(b, "ann"), send(other, "bob"); ann != tt.ann || bob != tt.bob {
			t.Errorf("reset of %v: %d of ann's commands and %d of bob's are admitted, want %d and %d", tt.actions, ann, bob, tt.ann, tt.bob)
		}
	}
}

// subscribed returns a function that returns the next event that a store announces.
func (b *bundle) subscribed() func() tenant.Event {
	b.t.Helper()
	rdb := testserver.ConnectRedis(b.t, b.redis.Addr())
	pubsub := rdb.Subscribe(b.t.Context(), store.ReloadChannel)
	if _, err := pubsub.Receive(b.t.Context()); err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { _ = pubsub.Close() })
	return func() tenant.Event {
		b.t.Helper()
		msg, err := pubsub.ReceiveMessage(b.t.Context())
		if err != nil {
			b.t.Fatal(err)
		}
		e, err := tenant.ParseEvent([]byte(msg.Payload))
		if err != nil {
			b.t.Fatal(err)
		}
		return e
	}
}

// A permit that is given back is free for all communities of the account at once.
func TestReleaseTogether(t *testing.T) {
	t.Parallel()
	b := setup(t, Options{Shards: 4})
	b.account("acme", 2, nil)
	b.members("acme", "c1", "c2")
	taken := b.send(commandOf("c1", "e1"))[0]
	if got := b.allowed(commandOf("c2", "e1"), commandOf("c2", "e2")); got != 1 {
		t.Fatalf("%d admitted, want 1", got)
	}
	if got := b.allowed(commandOf("c2", "e3")); got != 0 {
		t.Fatal("c2's window is not full")
	}
	if err := b.pool.Release(t.Context(), []*Admission{&taken.admission}); err != nil {
		t.Fatal(err)
	}
	if got := b.allowed(commandOf("c2", "e4"), commandOf("c2", "e5")); got != 1 {
		t.Errorf("%d admitted after a permit was given back, want 1", got)
	}
}

// A message that is delayed reserves its permit among those of the whole account.
func TestReserveTogether(t *testing.T) {
	t.Parallel()
	b := setup(t, Options{Shards: 2})
	now := time.Now().Truncate(time.Second)
	b.redis.SetTime(now)
	b.account("acme", 2, func(a *tenant.Account) {
		delay := tenant.Delay
		a.OnLimit.Command, a.MaxDelayed = &delay, new(int64(3))
	})
	b.members("acme", "c1", "c2")
	if got := b.allowed(commandOf("c1", "e1"), commandOf("c2", "e1")); got != 2 {
		t.Fatalf("%d admitted, want 2", got)
	}
	over := append(b.send(commands("c1", 10, 12)...), b.send(commands("c2", 10, 12)...)...)
	var answers []limiter.ReserveAnswer
	for _, r := range b.reserve(over...) {
		answers = append(answers, r.Answer)
	}
	want := []limiter.ReserveAnswer{limiter.Granted, limiter.Granted, limiter.Granted, limiter.Full}
	if diff := cmp.Diff(want, answers); diff != "" {
		t.Errorf("reservations of two communities, of which 3 are kept (-want +got):\n%s", diff)
	}
	if u := b.usage("c2"); u.Delayed != 3 || u.Used != 2 {
		t.Errorf("usage %+v, want 3 delayed", u)
	}
	b.redis.SetTime(now.Add(time.Minute + 2*time.Second))
	b.tell(tenant.Event{Type: tenant.LimitReset, TargetID: "@acme"}) // the shards' clock goes on slower
	if got := b.allowed(append(over[:2], commandOf("c2", "e20"))...); got != 2 {
		t.Errorf("%d admitted when their time has come, want the two with reservations and no newer one", got)
	}
}
