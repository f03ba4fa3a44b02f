package shard

import (
	"testing"
	"time"

	"arrakis/limiter"
	"arrakis/tenant"
	"arrakis/tenant/store"
)

// boost boosts a tenant, as another process would.
func (b *bundle) boost(id, request string) {
	b.t.Helper()
	r, err := tenant.ParseBoostRequest([]byte(request))
	if err != nil {
		b.t.Fatal(err)
	}
	if _, _, err := b.store.Boost(b.t.Context(), id, r, store.PutOptions{}); err != nil {
		b.t.Fatal(err)
	}
	if err := b.pool.Notify(b.t.Context(), tenant.Event{Type: tenant.TenantChanged, TargetID: id}); err != nil {
		b.t.Fatal(err)
	}
}

// usage is the usage of a community's commands.
func (b *bundle) usage(id string) ActionUsage {
	b.t.Helper()
	limits := Limits{Tenants: b.store, Limiter: b.limits}
	u, err := limits.Usage(b.t.Context(), id)
	if err != nil {
		b.t.Fatal(err)
	}
	return u.Actions[0]
}

// A boost counts for the very next message, also of a community that is blocked at that moment, and ends by itself: no
// event comes, and the tenant is not read again.
func TestBoostCountsForTheNextMessage(t *testing.T) {
	b := setup(t, Options{Shards: 4, CacheTTL: time.Hour})
	now := time.Now().Truncate(time.Second)
	b.redis.SetTime(now)
	if got := b.allowed(commands("c1", 0, 50)...); got != 10 {
		t.Fatalf("%d admitted as free, want 10", got)
	}
	b.boost("c1", `{"rateLimits":{"commandsPerMinute":5,"syncRequestsPerDay":7},"for":"30s"}`)
	if got := b.allowed(commands("c1", 50, 100)...); got != 5 {
		t.Errorf("%d admitted with a boost of 5, want 5", got)
	}
	u := b.usage("c1")
	if u.Boost == nil || u.Limit != 15 || u.Used != 15 || *u.Boost != (Boost{Add: 5, Until: now.Add(30 * time.Second).UTC(), LeftMS: 30_000}) {
		t.Errorf("usage %+v with the boost %+v, want 15 of 15 with 5 for 30 s", u, u.Boost)
	}
	b.redis.SetTime(now.Add(30 * time.Second))
	again := commandOf("c1", "e0")
	again.admission.Repeated = true // so that Redis is asked
	if v := b.send(again)[0].admission.Verdict; !v.Allowed || v.Charged || v.Limit != 10 || v.Remaining != 0 {
		t.Errorf("a message that comes again after the boost: %+v, want its permit under a limit of 10", v)
	}
	if u := b.usage("c1"); u.Boost != nil || u.Limit != 10 || u.Used != 15 || u.Remaining != 0 {
		t.Errorf("usage %+v after the boost, want 15 of 10", u)
	}
	if got := b.allowed(commands("c1", 100, 150)...); got != 0 {
		t.Errorf("%d admitted after the boost, want none", got)
	}
}

// A boost of the limit of users counts for each of them.
func TestBoostOfUsers(t *testing.T) {
	b := setup(t, Options{Shards: 1})
	one := int64(1)
	config := tenant.Config{Tier: tenant.Enterprise, RateLimits: tenant.LimitOverrides{UserCommandsPerMinute: &one}}
	if _, _, err := b.store.Put(t.Context(), "c1", config, store.PutOptions{}); err != nil {
		t.Fatal(err)
	}
	b.boost("c1", `{"rateLimits":{"userCommandsPerMinute":2,"commandsPerMinute":1},"for":"1h"}`)
	notes := commands("c1", 0, 10)
	for i, n := range notes {
		n.admission.User = []string{"u1", "u2"}[i%2]
	}
	if got := b.allowed(notes...); got != 6 {
		t.Errorf("%d commands of two users admitted, want three of each; the community stays unlimited", got)
	}
}

// Where only a boost gives a community permits, a message over it is delayed as long as a permit will be free before its
// end. A message that is delivered again finds its reservation.
func TestReserveInABoost(t *testing.T) {
	b := setup(t, Options{Shards: 2})
	none := int64(0)
	for _, tt := range []struct {
		last   string
		answer limiter.ReserveAnswer
	}{{"59s", limiter.Full}, {"1h", limiter.Granted}} {
		b.redis.FlushAll()
		b.redis.SetTime(time.Now().Truncate(time.Second))
		b.delays("c1", 3, func(c *tenant.Config) { c.RateLimits.CommandsPerMinute = &none })
		b.boost("c1", `{"rateLimits":{"commandsPerMinute":1},"for":"`+tt.last+`"}`)
		over := b.send(commands("c1", 0, 2)...)[1]
		if !over.admission.OverLimit() {
			t.Fatalf("%+v, want it over the limit", over.admission.Verdict)
		}
		if r := b.reserve(over)[0]; r.Answer != tt.answer || r.Wait != time.Minute {
			t.Errorf("with a boost for %s: %+v, want %d and a minute", tt.last, r, tt.answer)
		}
	}
	again := commandOf("c1", "e1")
	again.admission.Repeated, again.admission.MayBeReserved = true, "of-e1"
	if got := b.send(again)[0].admission; got.Reservation != "of-e1" {
		t.Errorf("the message that is delivered again has the reservation %q, want its own", got.Reservation)
	}
}
