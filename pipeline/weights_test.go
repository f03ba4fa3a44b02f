package pipeline

import (
	"context"
	"fmt"
	"testing"
	"time"

	"arrakis/loadtest/testserver"
	"arrakis/pipeline/contract"
	"arrakis/tenant"
	"arrakis/tenant/store"
)

// A changed weight is in force within a second for a community whose messages wait, though none arrives and no handler
// ends: the next messages start at once, as many as the new weight allows.
func TestChangedWeightConcernsWhatWaits(t *testing.T) {
	t.Parallel()
	four := int64(4)
	for name, tt := range map[string]struct {
		key    string // of the messages; all belong to c
		stored tenant.Config
		change func(context.Context, *store.Store) error
		event  tenant.Event
	}{
		"tenant": {
			key: "c", stored: tenant.Config{Tier: tenant.Free},
			change: func(ctx context.Context, s *store.Store) error {
				_, _, err := s.UpgradeTier(ctx, "c", tenant.Enterprise)
				return err
			},
			event: tenant.Event{Type: tenant.TenantChanged, TargetID: "c"},
		},
		"tenant by another key": {
			key: "guild", stored: tenant.Config{Tier: tenant.Free, CommunityID: "c"},
			change: func(ctx context.Context, s *store.Store) error {
				_, _, err := s.Update(ctx, "guild", func(c *tenant.Config) error { c.Weight = &four; return nil })
				return err
			},
			event: tenant.Event{Type: tenant.TenantChanged, TargetID: "guild"},
		},
		"account": {
			key: "c", stored: tenant.Config{Tier: tenant.Free, Account: "acme"},
			change: func(ctx context.Context, s *store.Store) error {
				_, _, err := s.UpdateAccount(ctx, "acme", func(a *tenant.Account) error { a.Weight = &four; return nil })
				return err
			},
			event: tenant.Event{Type: tenant.AccountChanged, TargetID: "acme"},
		},
		"tiers": {
			key: "c", stored: tenant.Config{Tier: tenant.Free},
			change: func(ctx context.Context, s *store.Store) error {
				_, err := s.PutTiers(ctx, tenant.Tiers{Free: tenant.TierOverrides{Weight: &four}}, store.PutOptions{})
				return err
			},
			event: tenant.Event{Type: tenant.GlobalChanged},
		},
	} {
		t.Run(name, func(t *testing.T) {
			b := setup(t)
			end := make(chan struct{})
			b.handlers.Command("slow", func(context.Context, *Message) (any, error) { <-end; return true, nil })
			b.options = func(o *Options) { o.HandlerConcurrency = 9 }
			if _, _, err := b.store.PutAccount(t.Context(), "acme", tenant.Account{Tier: tenant.Free}, store.PutOptions{}); err != nil {
				t.Fatal(err)
			}
			if _, _, err := b.store.Put(t.Context(), tt.key, tt.stored, store.PutOptions{}); err != nil {
				t.Fatal(err)
			}
			p, _ := b.start()
			t.Cleanup(func() { close(end) })
			bodies := make([][]byte, 10)
			for i := range bodies {
				bodies[i] = command(tt.key, "slow", fmt.Sprint("e", i))
			}
			b.send("commands.interaction", bodies...)
			runs := func(want int) func() bool {
				return func() bool {
					waiting, running := p.admitted.depth()
					return running == want && waiting == len(bodies)-want
				}
			}
			testserver.Eventually(t, "5 of 9 workers handle messages of a community of weight 1", runs(5))
			if err := tt.change(t.Context(), store.New(b.rdb, store.Options{})); err != nil { // in another process
				t.Fatal(err)
			}
			if err := p.Reload(t.Context(), tt.event); err != nil {
				t.Fatal(err)
			}
			testserver.Eventually(t, "8 of 9 workers handle messages of a community of weight 4", runs(8))
		})
	}
}

// weighed is a fair queue in which messages of c wait, and the weights of its tenants.
type weighed struct {
	*bundle
	source  *source
	queue   *fairQueue
	weights *weights
	now     time.Time
}

func newWeighed(t *testing.T) *weighed {
	t.Helper()
	w := &weighed{bundle: setup(t), source: newRouteSource(nil, contract.KindCommand.Route(), discard), queue: newFairQueue(2, 0), now: time.Now()}
	w.weights = newWeights(w.store, w.limits.Health(), w.queue)
	w.arrives("c", 1)
	return w
}

// arrives puts a message of c that was decided when c had the weight.
func (w *weighed) arrives(key string, weight int) {
	d := queued("c", 0)
	d.source, d.TenantKey, d.Tenant.Weight = w.source, key, weight
	w.queue.put([]*delivery{d})
}

// change stores a weight and notes the change.
func (w *weighed) change(key, config string) {
	w.t.Helper()
	if err := w.redis.Set("tenant:config:"+key, config); err != nil {
		w.t.Fatal(err)
	}
	w.weights.note(tenant.Event{Type: tenant.TenantChanged, TargetID: key}, w.now)
}

// want fails the test if c has another weight after the next look.
func (w *weighed) want(what string, weight int) {
	w.t.Helper()
	w.now = w.now.Add(weighInterval)
	w.weights.apply(w.t.Context(), w.now)
	if got := w.queue.communities["c"].weight; got != weight {
		w.t.Errorf("%s: weight %d, want %d", what, got, weight)
	}
}

// Messages that were decided before a change arrive after it. They bring the former weight for less than a second.
func TestWeightOutlastsEarlierMessages(t *testing.T) {
	t.Parallel()
	w := newWeighed(t)
	w.arrives("c", 1)
	w.change("c", `{"tier":"pro","weight":7}`)
	w.want("changed", 7)
	for range 3 {
		w.arrives("c", 1)
		w.want("an earlier message has arrived", 7)
	}
	if n := len(w.weights.changed); n != 0 {
		t.Errorf("%d changes are remembered after a second", n)
	}
}

// Only a change of the tenant key by which the community has its weight counts: that of its message that came last.
func TestWeightIsByTheKeyOfTheLastMessage(t *testing.T) {
	t.Parallel()
	w := newWeighed(t)
	w.arrives("guild", 2)
	w.change("c", `{"tier":"free","weight":7}`)
	w.want("the key of an earlier message has changed", 2)
	w.change("guild", `{"tier":"free","weight":8,"communityId":"c"}`)
	w.want("the key of the last message has changed", 8)
	w.change("guild", `{"tier":"free","weight":9,"communityId":"other"}`)
	w.want("the key belongs to another community", 8)
}

// While tenants cannot be read, the former weight stays. Afterwards it is the new one, without a message.
func TestWeightStaysWhileRedisFails(t *testing.T) {
	t.Parallel()
	w := newWeighed(t)
	w.change("c", `{"tier":"pro"}`)
	w.redis.SetError("MISCONF away")
	w.want("Redis fails", 1)
	w.redis.SetError("")
	w.want("Redis answers again", 2)
}

// However many tenants change, what is remembered of them is bounded, and no change is missed.
func TestManyChangedTenants(t *testing.T) {
	t.Parallel()
	w := newWeighed(t)
	w.change("c", `{"tier":"pro"}`)
	for i := range 3*maxChanged + 1 {
		w.weights.note(tenant.Event{Type: tenant.TenantChanged, TargetID: fmt.Sprint("c", i)}, w.now)
		if n := len(w.weights.changed); n > maxChanged {
			t.Fatalf("%d changes are remembered, want %d at most", n, maxChanged)
		}
	}
	w.want("many have changed", 2)
}
