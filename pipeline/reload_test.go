package pipeline

import (
	"testing"
	"time"

	"arrakis/limiter"
	"arrakis/shard"
	"arrakis/tenant"
)

// A reset in another process makes this one's memory for outages forget the limits that were reset, those of users too,
// and no other community's.
func TestResetReachesTheLimitersMemory(t *testing.T) {
	for target, want := range map[string]map[string]bool{ // what is admitted again
		"c1":                   {"c1": true, "c1 user": true},
		"c1:command":           {"c1": true},
		"c1:user_command":      {"c1 user": true},
		"c1:eligibility_check": {},
	} {
		t.Run(target, func(t *testing.T) {
			b := setup(t)
			p, _ := b.start()
			keys := map[string]string{
				"c1": shard.Key("c1", tenant.Command), "c1 user": shard.UserKey("c1", "ann"),
				"others": shard.Key("c", tenant.Command), "c user": shard.UserKey("c", "ann"),
				"c1:x user": shard.UserKey("c1:x", "ann"), "x:c1 user": shard.UserKey("x:c1", "ann"),
				"odd user":  shard.UserKey("c1:user_command", "ann"),
				"odd other": shard.UserKey("c12", "c1:user_command/ann"),
			}
			limit := limiter.Limit{Max: 1, Window: time.Hour}
			admitted := func(name, id string) bool {
				t.Helper()
				vs, err := b.limits.Allow(t.Context(), keys[name], limit, id)
				if err != nil {
					t.Fatal(err)
				}
				return vs[0].Allowed
			}
			for name := range keys {
				if !admitted(name, "first") {
					t.Fatalf("%s: the first message is rejected", name)
				}
			}
			b.redis.FlushAll() // the other process has reset them all
			if err := p.Reload(t.Context(), tenant.Event{Type: tenant.LimitReset, TargetID: target}); err != nil {
				t.Fatal(err)
			}
			b.redis.SetError("MISCONF away")
			for name := range keys {
				if got := admitted(name, "second"); got != want[name] {
					t.Errorf("%s: admitted %t by memory after the reset, want %t", name, got, want[name])
				}
			}
		})
	}
}
