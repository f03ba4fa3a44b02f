package watch_test

import (
	"context"
	"fmt"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"

	"arrakis/tenant"
	"arrakis/tenant/store"
	"arrakis/tenant/watch"
)

func ExampleWatcher() {
	server := miniredis.NewMiniRedis()
	if err := server.Start(); err != nil {
		panic(err)
	}
	defer server.Close()
	rdb := redis.NewClient(&redis.Options{Addr: server.Addr()})
	defer rdb.Close() //nolint:errcheck // nothing is pending
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()

	watcher := watch.New(rdb, watch.Options{
		OnEvent: func(_ context.Context, ev tenant.Event, _ watch.Way) {
			fmt.Println(ev.Type, ev.TargetID)
			cancel() // one is enough here
		},
	})
	if err := store.New(rdb, store.Options{}).NotifyReload(ctx, "comm_1"); err != nil {
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
