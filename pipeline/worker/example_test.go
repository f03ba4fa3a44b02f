package worker_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"os/signal"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/redis/go-redis/v9"

	"arrakis/pipeline"
	"arrakis/pipeline/contract"
	"arrakis/pipeline/worker"
)

// A bot with two commands, of which the second is for tenants that have the feature. It works until it is interrupted.
func Example() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	nc, err := nats.Connect("nats://127.0.0.1:4222", nats.RetryOnFailedConnect(true), nats.MaxReconnects(-1))
	if err != nil {
		log.Fatal(err)
	}
	rdb := redis.NewClient(&redis.Options{Addr: "127.0.0.1:6379", ContextTimeoutEnabled: true})

	handlers := pipeline.NewHandlers()
	handlers.Command("ping", func(context.Context, *pipeline.Message) (any, error) { return "pong", nil })
	handlers.Command("stats", func(_ context.Context, m *pipeline.Message) (any, error) {
		if !m.Feature("advancedAnalytics") {
			return nil, pipeline.Permanent(403, "upgrade to see statistics")
		}
		return map[string]any{"community": m.Community, "members": 42}, nil
	})

	w, err := worker.New(worker.Options{NATS: nc, Redis: rdb, Handlers: handlers})
	if err != nil {
		log.Fatal(err)
	}
	if err := w.Run(ctx); err != nil {
		log.Fatal(err)
	}
}

// A worker and its handler on embedded servers: a command is published, and its outcome comes to the inbox that the
// message names.
func Example_embedded() {
	nc, rdb, stopServers := embedded()
	defer stopServers()

	handlers := pipeline.NewHandlers()
	handlers.Command("greet", func(_ context.Context, m *pipeline.Message) (any, error) {
		return "hello, " + m.Community + " of the " + string(m.Tenant.Tier) + " tier", nil
	})
	w, err := worker.New(worker.Options{NATS: nc, Redis: rdb, Handlers: handlers})
	if err != nil {
		log.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx) }()
	if err := w.AwaitReady(ctx); err != nil {
		log.Fatal(err)
	}

	inbox := nc.NewInbox()
	outcomes, err := nc.SubscribeSync(inbox)
	if err != nil {
		log.Fatal(err)
	}
	command := nats.NewMsg("commands.interaction")
	command.Header.Set(contract.HeaderReplyTo, inbox)
	command.Data = []byte(`{"event_id":"1","event_type":"interaction.create","guild_id":"comm_007","data":{"command_name":"greet"}}`)
	js, err := jetstream.New(nc)
	if err != nil {
		log.Fatal(err)
	}
	if _, err := js.PublishMsg(ctx, command); err != nil {
		log.Fatal(err)
	}
	outcome, err := outcomes.NextMsg(time.Minute)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(string(outcome.Data))

	stop()
	fmt.Println("stopped:", <-done)
	// Output:
	// {"event_id":"1","community_id":"comm_007","tier":"free","status":"ok","result":"hello, comm_007 of the free tier","rate_limit":{"action":"command","limit":10,"remaining":9,"reset_ms":60000,"retry_after_ms":0}}
	// stopped: <nil>
}

// embedded starts a NATS server with JetStream and a Redis in this process.
func embedded() (*nats.Conn, *redis.Client, func()) {
	dir, err := os.MkdirTemp("", "arrakis-example-")
	if err != nil {
		log.Fatal(err)
	}
	ns, err := server.NewServer(&server.Options{
		Host: "127.0.0.1", Port: -1, NoSigs: true, JetStream: true, StoreDir: dir,
		JetStreamMaxStore: 16 << 30, // the streams reserve 9.25 GiB; no disk space is used before messages come
	})
	if err != nil {
		log.Fatal(err)
	}
	ns.Start()
	nc, err := nats.Connect(ns.ClientURL(), nats.RetryOnFailedConnect(true))
	if err != nil {
		log.Fatal(err)
	}
	m, err := miniredis.Run()
	if err != nil {
		log.Fatal(err)
	}
	rdb := redis.NewClient(&redis.Options{Addr: m.Addr(), ContextTimeoutEnabled: true})
	return nc, rdb, func() {
		_ = rdb.Close() // nothing is pending
		m.Close()
		nc.Close()
		ns.Shutdown()
		ns.WaitForShutdown()
		_ = os.RemoveAll(dir) // the system clears what is left
	}
}
