package shard

import (
	"testing"
	"time"

	"arrakis/limiter"
	"arrakis/tenant"
	"arrakis/tenant/store"
)

// delays stores a tenant that delays up to limit commands.
func (b *bundle) delays(id string, limit int64, more func(*tenant.Config)) {
	b.t.Helper()
	delay := tenant.Delay
	c := tenant.Config{Tier: tenant.Free, OnLimit: tenant.OnLimitOverrides{Command: &delay}, MaxDelayed: &limit}
	if more != nil {
		more(&c)
	}
	if _, _, err := b.store.Put(b.t.Context(), id, c, store.PutOptions{}); err != nil {
		b.t.Fatal(err)
	}
}

// reserve reserves permits for notes whose admission was rejected.
func (b *bundle) reserve(notes ...*note) []*Reservation {
	b.t.Helper()
	var batch []*Reservation
	for _, n := range notes {
		batch = append(batch, &Reservation{Admission: &n.admission, Name: "of-" + n.admission.ID, Longest: time.Hour})
	}
	if err := b.pool.Reserve(b.t.Context(), batch); err != nil {
		b.t.Fatal(err)
	}
	return batch
}

// TestReserve: a message over the limit reserves a permit, and gets it when its time has come, before those that come
// later. What is reserved too much, or given back, is not kept.
func TestReserve(t *testing.T) {
	b := setup(t, Options{Shards: 2})
	now := time.Now().Truncate(time.Second)
	b.redis.SetTime(now)
	b.delays("guild", 3, func(c *tenant.Config) { c.CommunityID = "c1" })
	notes := commands("guild", 0, 14)
	var over []*note
	for _, n := range b.send(notes...) {
		if n.admission.OverLimit() {
			over = append(over, n)
		}
	}
	answers := b.reserve(over...)
	for i, r := range answers[:3] {
		if r.Answer != limiter.Granted || r.Wait != time.Minute || r.Admission.Reservation == "" {
			t.Errorf("reservation %d: %+v, want one in a minute", i, r)
		}
	}
	if r := answers[3]; len(over) != 4 || r.Answer != limiter.Full || r.Admission.Reservation != "" {
		t.Errorf("of %d over the limit, the last reservation is %+v, want that it is refused", len(over), r)
	}
	if err := b.pool.Release(t.Context(), []*Admission{&over[2].admission}); err != nil {
		t.Fatal(err)
	}
	again := func(n *note) *note {
		back := commandOf("guild", n.admission.ID)
		back.admission.Reservation = n.admission.Reservation
		return back
	}
	if n := b.allowed(again(over[0]), again(over[1])); n != 0 {
		t.Errorf("%d messages are admitted before their time", n)
	}
	b.redis.SetTime(now.Add(time.Minute))
	if err := b.pool.Notify(t.Context(), tenant.Event{Type: tenant.LimitReset, TargetID: "c1:command"}); err != nil { // of what the shard remembers
		t.Fatal(err)
	}
	if n := b.allowed(commands("guild", 100, 120)...); n != 8 {
		t.Errorf("%d new messages are admitted while two permits are reserved, want 8", n)
	}
	for range 2 { // the second time, they are delivered again
		if n := b.allowed(again(over[0]), again(over[1])); n != 2 {
			t.Errorf("%d of 2 messages got the permits reserved for them", n)
		}
	}
	if n := b.allowed(again(over[2])); n != 0 {
		t.Error("a message got a permit that was given back")
	}
}

// TestReservationIsFound: a message that is delivered again, because its worker died after it had reserved a permit, uses
// that permit, before and after the permit is free.
func TestReservationIsFound(t *testing.T) {
	b := setup(t, Options{Shards: 1})
	now := time.Now().Truncate(time.Second)
	b.redis.SetTime(now)
	b.delays("c1", 3, nil)
	b.send(commands("c1", 0, 11)...)
	lost := commandOf("c1", "e10")
	b.send(lost)
	b.reserve(lost)
	again := func() *note {
		n := commandOf("c1", "e10")
		n.admission.Repeated, n.admission.MayBeReserved = true, "of-e10"
		return n
	}
	early := again()
	if b.allowed(early) != 0 || early.admission.Reservation == "" {
		t.Errorf("before its time: %+v", early.admission)
	}
	b.redis.SetTime(now.Add(61 * time.Second))
	late := again()
	if b.allowed(late) != 1 || late.admission.Verdict.Charged {
		t.Errorf("after its time: %+v, want that it is admitted with the permit reserved for it", late.admission.Verdict)
	}
	other := commandOf("c1", "e11")
	other.admission.Repeated, other.admission.MayBeReserved = true, "of-e11"
	if b.allowed(other) != 1 || !other.admission.Verdict.Charged || other.admission.Reservation != "" {
		t.Errorf("one without a reservation: %+v", other.admission)
	}
}

// TestNotOverLimit: a user's own limit, a limit of none, and a limit that Redis has not decided on, do not delay.
func TestNotOverLimit(t *testing.T) {
	b := setup(t, Options{Shards: 1})
	b.delays("user", 3, func(c *tenant.Config) { c.RateLimits.UserCommandsPerMinute = new(int64(1)) })
	b.delays("none", 3, func(c *tenant.Config) { c.RateLimits.CommandsPerMinute = new(int64(0)) })
	b.delays("c1", 3, nil)
	one, two := commandOf("user", "e1"), commandOf("user", "e2")
	one.admission.User, two.admission.User = "u", "u"
	if b.send(one, two); two.admission.Verdict.Allowed || two.admission.OverLimit() {
		t.Errorf("over the user's limit: %+v", two.admission.Verdict)
	}
	if n := b.send(commandOf("none", "e1"))[0]; n.admission.Verdict.Allowed || n.admission.OverLimit() {
		t.Errorf("a limit of none: %+v", n.admission.Verdict)
	}
	b.send(commands("c1", 0, 10)...)
	b.redis.SetError("LOADING")
	last := commandOf("c1", "e11")
	last.admission.Repeated = true // asks Redis
	if b.send(last); last.admission.Verdict.Allowed || last.admission.OverLimit() {
		t.Errorf("without Redis: %+v", last.admission.Verdict)
	}
}
