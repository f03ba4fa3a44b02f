package store_test

import (
	"context"
	"fmt"
	"strings"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"

	"arrakis/tenant"
	"arrakis/tenant/store"
)

// openExample makes a store on a Redis that is embedded in the example.
func openExample() (tenants *store.Store, closeAll func()) {
	server := miniredis.NewMiniRedis()
	if err := server.Start(); err != nil {
		panic(err)
	}
	rdb := redis.NewClient(&redis.Options{Addr: server.Addr()})
	return store.New(rdb, store.Options{Source: "example"}), func() {
		_ = rdb.Close()
		server.Close()
	}
}

func ExampleStore() {
	tenants, closeAll := openExample()
	defer closeAll()
	ctx := context.Background()

	if _, _, err := tenants.UpgradeTier(ctx, "comm_1", tenant.Pro); err != nil {
		fmt.Println(err)
		return
	}
	loaded, err := tenants.Load(ctx, []string{"comm_1", "comm_2"})
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, t := range loaded {
		limit, window := t.Limit(tenant.Command)
		fmt.Printf("%s is %s: %d commands in %v, features [%s]\n",
			t.ID, t.Tier, limit, window, strings.Join(t.Features.Names(), " "))
	}
	// Output:
	// comm_1 is pro: 100 commands in 1m0s, features [customBranding advancedAnalytics]
	// comm_2 is free: 10 commands in 1m0s, features []
}

func ExampleStore_Update() {
	tenants, closeAll := openExample()
	defer closeAll()

	c, _, err := tenants.Update(context.Background(), "comm_1", func(c *tenant.Config) error {
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
