package premium

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"go.uber.org/goleak"

	"arrakis/limiter/redishealth"
	"arrakis/loadtest/testserver"
	"arrakis/pipeline/discord"
	"arrakis/tenant"
	"arrakis/tenant/store"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(testserver.M{M: m}) }

// bundle is a Premium on miniredis, where SKU 1 gives pro.
type bundle struct {
	*Premium
	t     *testing.T
	redis *miniredis.Miniredis
	now   time.Time
}

func setup(t *testing.T) *bundle {
	t.Helper()
	b := &bundle{t: t, redis: testserver.Miniredis(t), now: time.Now()}
	rdb := testserver.ConnectRedis(t, b.redis.Addr())
	health, err := redishealth.New(rdb, redishealth.Options{Timeout: testserver.Patience})
	if err != nil {
		t.Fatal(err)
	}
	b.Premium = New(store.New(rdb, store.Options{Source: "test"}), health)
	b.mapSKU("1", tenant.Pro)
	return b
}

func (b *bundle) mapSKU(sku string, tier tenant.Tier) {
	b.t.Helper()
	if _, err := b.tenants.PutTiers(b.t.Context(), tenant.Tiers{SKUs: map[string]tenant.Tier{sku: tier}}, store.PutOptions{}); err != nil {
		b.t.Fatal(err)
	}
}

// at makes an interaction of guild 5 that is created at a time, with the entitlements.
func at(created time.Time, all ...discord.Entitlement) *discord.Interaction {
	const epoch = 1_420_070_400_000
	return &discord.Interaction{ID: strconv.FormatInt((created.UnixMilli()-epoch)<<22, 10), GuildID: "5", UserID: "6", Entitlements: all}
}

func guilds(id, sku string) discord.Entitlement {
	return discord.Entitlement{ID: id, SKU: sku, GuildID: "5", UserID: "6"}
}

// comes handles an interaction that comes so long after the start, and checks the tier after it, and whether the worker is
// told of the config. It returns how many commands Redis was sent.
func (b *bundle) comes(after time.Duration, told bool, want tenant.Tier, all ...discord.Entitlement) (commands int) {
	b.t.Helper()
	before := b.redis.CommandCount()
	since, err := b.interaction(b.t.Context(), at(b.now.Add(after), all...), b.now.Add(after))
	commands = b.redis.CommandCount() - before
	if err != nil || since.IsZero() == told {
		b.t.Errorf("after %v: since %v, %v, want one: %t", after, since, err, told)
	}
	if written := b.tier("5", want); told && since.UnixMilli() != written {
		b.t.Errorf("after %v: since %d, want %d", after, since.UnixMilli(), written)
	}
	return commands
}

func (b *bundle) tier(community string, want tenant.Tier) (writtenMS int64) {
	b.t.Helper()
	got, err := b.tenants.Load(b.t.Context(), []string{community})
	if err != nil || got[0].Tier != want {
		b.t.Errorf("%s: %+v, %v, want %s", community, got, err, want)
	}
	return got[0].UpdatedMS
}

func TestInteractions(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.comes(0, false, tenant.Free)
	b.comes(time.Second, true, tenant.Pro, guilds("9", "1"))
	if n := b.comes(2*time.Second, true, tenant.Pro, guilds("9", "1")); n != 0 {
		t.Errorf("%d commands for what is known", n)
	}
	if n := b.comes(30*time.Second, true, tenant.Pro, guilds("9", "1")); n != 0 {
		t.Errorf("%d commands for what is known", n)
	}
	if n := b.comes(31*time.Second, true, tenant.Pro, guilds("9", "1")); n != 1 {
		t.Errorf("%d commands for a look after %v, want 1", n, lookEvery)
	}
	b.comes(61*time.Second, false, tenant.Pro, guilds("9", "1")) // everyone knows
	b.comes(62*time.Second, true, tenant.Free)
	b.comes(63*time.Second, true, tenant.Pro, guilds("8", "2"), guilds("9", "1"))
	if n := b.comes(64*time.Second, true, tenant.Pro, guilds("9", "1"), guilds("8", "2")); n != 0 {
		t.Errorf("%d commands for the same in another order", n)
	}
	b.mapSKU("2", tenant.Enterprise)
	b.comes(65*time.Second, true, tenant.Enterprise, guilds("8", "2"), guilds("9", "1"))
}

// What an interaction does not say clearly has not ended.
func TestUnclearEntitlements(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.comes(0, true, tenant.Pro, guilds("9", "1"))
	unclear := at(b.now.Add(time.Second))
	unclear.EntitlementsUnclear = true
	if _, err := b.interaction(t.Context(), unclear, b.now.Add(time.Second)); err != nil {
		t.Fatal(err)
	}
	b.tier("5", tenant.Pro)
	b.comes(2*time.Second, true, tenant.Free)
}

// Only what is the community's, and has begun, counts.
func TestWhoseEntitlements(t *testing.T) {
	t.Parallel()
	for i, tt := range []struct {
		guild string
		e     discord.Entitlement
		want  bool
	}{
		{"5", discord.Entitlement{GuildID: "5"}, true},
		{"5", discord.Entitlement{GuildID: "7"}, false},
		{"5", discord.Entitlement{UserID: "6"}, false},
		{"5", discord.Entitlement{}, true},
		{"", discord.Entitlement{UserID: "6"}, true},
		{"", discord.Entitlement{UserID: "7"}, false},
		{"", discord.Entitlement{GuildID: "5", UserID: "6"}, false},
		{"5", discord.Entitlement{GuildID: "5", StartsAt: time.Now().Add(time.Hour)}, false},
		{"5", discord.Entitlement{GuildID: "5", StartsAt: time.Now().Add(-time.Hour)}, true},
	} {
		interaction := at(time.Now(), tt.e)
		interaction.GuildID = tt.guild
		if o, ok := observe(interaction); !ok || (len(o.Seen) == 1) != tt.want || !o.Complete {
			t.Errorf("%d: %+v, want it to be seen: %t", i, o, tt.want)
		}
	}
}

func TestEvents(t *testing.T) {
	t.Parallel()
	b := setup(t)
	event := func(e discord.Entitlement, at time.Time) {
		t.Helper()
		if err := b.Event(t.Context(), e, at); err != nil {
			t.Errorf("%+v: %v", e, err)
		}
	}
	b.comes(0, false, tenant.Free)
	event(guilds("9", "1"), b.now.Add(time.Second))
	b.tier("5", tenant.Pro)
	b.comes(2*time.Second, true, tenant.Pro, guilds("9", "1"))
	ended := guilds("9", "1")
	ended.Deleted = true
	event(ended, b.now.Add(-time.Hour)) // it comes late
	b.tier("5", tenant.Free)

	event(discord.Entitlement{ID: "7", SKU: "1", UserID: "6"}, b.now)
	b.tier("user:6", tenant.Pro)
	event(discord.Entitlement{ID: "7", SKU: "1"}, b.now)
	event(discord.Entitlement{ID: "7", SKU: "1", GuildID: "8", StartsAt: b.now.Add(time.Hour)}, b.now)
	b.tier("8", tenant.Free)
}

// Where no SKU gives a tier, and where Redis is away, nothing is asked.
func TestNothingToDo(t *testing.T) {
	t.Parallel()
	b := setup(t)
	nothing := func(want error) {
		t.Helper()
		before := b.redis.CommandCount()
		for i := range 10 {
			since, err := b.Interaction(t.Context(), at(b.now, guilds(fmt.Sprint(i), "1")))
			if !since.IsZero() || !errors.Is(err, want) {
				t.Errorf("since %v, %v, want %v", since, err, want)
			}
			if err := b.Event(t.Context(), guilds("9", "1"), b.now); !errors.Is(err, want) {
				t.Errorf("%v, want %v", err, want)
			}
		}
		if n := b.redis.CommandCount() - before; n != 0 {
			t.Errorf("%d commands", n)
		}
	}
	for !b.health.Away() {
		_ = b.health.Do(t.Context(), func(context.Context) error { return context.DeadlineExceeded })
	}
	nothing(redishealth.ErrAway)
	if _, err := b.tenants.PutTiers(t.Context(), tenant.Tiers{SKUs: map[string]tenant.Tier{}}, store.PutOptions{}); err != nil {
		t.Fatal(err)
	}
	nothing(nil)
}
