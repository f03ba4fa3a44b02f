package tenant_test

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"

	"arrakis/tenant"
)

// openExample makes a store on a Redis that is embedded in the example.
func openExample() (store *tenant.Store, closeAll func()) {
	server := miniredis.NewMiniRedis()
	if err := server.Start(); err != nil {
		panic(err)
	}
	rdb := redis.NewClient(&redis.Options{Addr: server.Addr()})
	return tenant.NewStore(rdb, tenant.StoreOptions{Source: "example"}), func() {
		_ = rdb.Close()
		server.Close()
	}
}

func ExampleStore() {
	store, closeAll := openExample()
	defer closeAll()
	ctx := context.Background()

	if _, _, err := store.UpgradeTier(ctx, "comm_1", tenant.Pro); err != nil {
		fmt.Println(err)
		return
	}
	tenants, err := store.Load(ctx, []string{"comm_1", "comm_2"})
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, t := range tenants {
		limit, window := t.Limit(tenant.Command)
		fmt.Printf("%s is %s: %d commands in %v, features [%s]\n",
			t.ID, t.Tier, limit, window, strings.Join(t.Features.Names(), " "))
	}
	// Output:
	// comm_1 is pro: 100 commands in 1m0s, features [customBranding advancedAnalytics]
	// comm_2 is free: 10 commands in 1m0s, features []
}

func ExampleStore_Update() {
	store, closeAll := openExample()
	defer closeAll()

	c, _, err := store.Update(context.Background(), "comm_1", func(c *tenant.Config) error {
		return c.Merge([]byte(`{"tier":"pro","rateLimits":{"commandsPerMinute":250}}`))
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(c.CommunityID, c.Tier, *c.RateLimits.CommandsPerMinute)
	// Output:
	// comm_1 pro 250
}

func ExampleWatcher() {
	store, closeAll := openExample()
	defer closeAll()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()

	watcher := tenant.NewWatcher(store, tenant.WatcherOptions{
		OnEvent: func(ev tenant.Event) {
			fmt.Println(ev.Type, ev.TargetID)
			cancel() // one is enough here
		},
	})
	if err := store.NotifyReload(ctx, "comm_1"); err != nil {
		fmt.Println(err)
		return
	}
	// Run looks at the change log when it has subscribed, and so hears of what
	// changed just before.
	if err := watcher.Run(ctx); err != nil {
		fmt.Println(err)
	}
	// Output:
	// tenant_config comm_1
}

func ExampleParseConfig() {
	_, err := tenant.ParseConfig([]byte(`{"tier":"gold","rateLimits":{"commandsPerMinit":5}}`))
	fmt.Println(err)
	// Output:
	// rateLimits.commandsPerMinit: is unknown; known are commandsPerMinute, eligibilityChecksPerHour, syncRequestsPerDay, userCommandsPerMinute
	// tier: is unknown: "gold"; use free, pro or enterprise
}

func ExampleFlag_On() {
	share := 25.0
	flag := tenant.Flag{
		ID:             "new-stats",
		Enabled:        true,
		Tiers:          []tenant.Tier{tenant.Pro, tenant.Enterprise},
		Communities:    tenant.FlagCommunities{Include: []string{"comm_beta"}},
		RolloutPercent: &share,
	}
	for _, t := range []*tenant.Tenant{
		{ID: "comm_beta", Tier: tenant.Free},
		{ID: "comm_1", Tier: tenant.Free},
	} {
		fmt.Println(t.ID, flag.On(t))
	}
	// Output:
	// comm_beta true
	// comm_1 false
}

func ExampleEvent_Reset() {
	ev := tenant.Event{Type: tenant.LimitReset, TargetID: "guild:7:sync_request"}
	community, actions, _ := ev.Reset()
	fmt.Println(community, len(actions), actions[0])
	// Output:
	// guild:7 1 sync_request
}
