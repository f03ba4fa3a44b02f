package limiter_test

import (
	"context"
	"fmt"
	"log"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"

	"arrakis/limiter"
)

// redisClient returns a client of an embedded Redis.
func redisClient() (rdb *redis.Client, stop func()) {
	server, err := miniredis.Run()
	if err != nil {
		log.Fatal(err)
	}
	rdb = redis.NewClient(&redis.Options{Addr: server.Addr(), ContextTimeoutEnabled: true})
	return rdb, func() {
		if err := rdb.Close(); err != nil {
			log.Print(err)
		}
		server.Close()
	}
}

func ExampleLimiter_Allow() {
	rdb, stop := redisClient()
	defer stop()
	l, err := limiter.New(rdb, limiter.Options{})
	if err != nil {
		log.Fatal(err)
	}
	limit := limiter.Limit{Max: 2, Window: time.Minute}
	verdicts, err := l.Allow(context.Background(), "comm_007:command", limit, "event-1", "event-2", "event-1", "event-3")
	if err != nil {
		log.Fatal(err)
	}
	for _, v := range verdicts {
		fmt.Printf("allowed %t, charged %t, remaining %d\n", v.Allowed, v.Charged, v.Remaining)
	}
	// Output:
	// allowed true, charged true, remaining 1
	// allowed true, charged true, remaining 0
	// allowed true, charged false, remaining 0
	// allowed false, charged false, remaining 0
}

func ExampleLimiter_AllowBatch() {
	rdb, stop := redisClient()
	defer stop()
	l, err := limiter.New(rdb, limiter.Options{})
	if err != nil {
		log.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	watched := make(chan error, 1)
	go func() { watched <- l.Run(ctx) }()

	// One goroutine owns the windows of its keys.
	limit := limiter.Limit{Max: 1, Window: time.Minute}
	one, two := limiter.NewWindow("comm_001:command"), limiter.NewWindow("comm_002:command")
	for _, id := range []string{"event-1", "event-2"} {
		batch := []*limiter.Request{{Window: one, Limit: limit, ID: id}, {Window: two, Limit: limit, ID: id}}
		if err := l.AllowBatch(ctx, batch); err != nil {
			log.Fatal(err)
		}
		for _, r := range batch {
			fmt.Printf("%s %s: allowed %t, without Redis %t\n", r.Window.Key(), r.ID, r.Verdict.Allowed, r.Verdict.Local)
		}
	}
	cancel()
	if err := <-watched; err != nil {
		log.Fatal(err)
	}
	// Output:
	// comm_001:command event-1: allowed true, without Redis false
	// comm_002:command event-1: allowed true, without Redis false
	// comm_001:command event-2: allowed false, without Redis true
	// comm_002:command event-2: allowed false, without Redis true
}

func ExampleLimiter_Usage() {
	rdb, stop := redisClient()
	defer stop()
	l, err := limiter.New(rdb, limiter.Options{})
	if err != nil {
		log.Fatal(err)
	}
	ctx := context.Background()
	limit := limiter.Limit{Max: 10, Window: time.Minute}
	if _, err := l.Allow(ctx, "comm_007:command", limit, "event-1", "event-2"); err != nil {
		log.Fatal(err)
	}
	show := func() {
		u, err := l.Usage(ctx, "comm_007:command", limit)
		if err != nil {
			log.Fatal(err)
		}
		fmt.Printf("used %d of %d, %d remaining\n", u.Used, u.Limit, u.Remaining)
	}
	show()
	if err := l.Reset(ctx, "comm_007:command"); err != nil {
		log.Fatal(err)
	}
	show()
	// Output:
	// used 2 of 10, 8 remaining
	// used 0 of 10, 10 remaining
}
