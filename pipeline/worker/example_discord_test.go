package worker_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log"
	"net"
	"os"
	"os/signal"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/redis/go-redis/v9"

	"arrakis/pipeline"
	"arrakis/pipeline/worker"
)

// A bot on Discord. It is told of interactions at http://…:8080/discord/interactions, which the developer portal must know
// under its public name; see docs/discord.md.
func Example_discord() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	nc, err := nats.Connect("nats://127.0.0.1:4222", nats.RetryOnFailedConnect(true), nats.MaxReconnects(-1))
	if err != nil {
		log.Fatal(err)
	}
	rdb := redis.NewClient(&redis.Options{Addr: "127.0.0.1:6379", ContextTimeoutEnabled: true})
	address, err := net.Listen("tcp", ":8080")
	if err != nil {
		log.Fatal(err)
	}

	handlers := pipeline.NewHandlers()
	handlers.Command("ping", func(context.Context, *pipeline.Message) (any, error) { return "pong", nil })
	handlers.Command("report", report)

	w, err := worker.New(worker.Options{
		NATS: nc, Redis: rdb, HTTP: address, Handlers: handlers,
		IngressTokens: []string{os.Getenv("INGRESS_TOKEN")}, // of everybody but Discord, whose requests are signed
		Discord: worker.DiscordOptions{
			PublicKeys:    []string{os.Getenv("DISCORD_PUBLIC_KEY")},
			ApplicationID: os.Getenv("DISCORD_APPLICATION_ID"),
		},
	})
	if err != nil {
		log.Fatal(err)
	}
	if err := w.Run(ctx); err != nil {
		log.Fatal(err)
	}
}

// report handles /report month:June. It takes a while, so its user sees what has been done so far.
func report(ctx context.Context, m *pipeline.Message) (any, error) {
	var asked struct {
		Options struct{ Month string }
	}
	if err := json.Unmarshal(m.Data, &asked); err != nil {
		return nil, pipeline.Permanent(400, "I do not understand that.")
	}
	if !m.Feature("advancedAnalytics") {
		return nil, pipeline.Permanent(403, "Reports are part of Pro.") // told to the user, and not tried again
	}
	for week := 1; week <= 4; week++ {
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
			return nil, ctx.Err() // tried again
		}
		// An error says that there is nobody to show it to: the message is no interaction.
		_ = m.Progress(fmt.Sprintf("Reading week %d of 4 …", week))
	}
	_ = m.FollowUp(map[string]any{"content": "The numbers are from last night.", "flags": 64}) // 64: only the user sees it
	return map[string]any{"title": "Report of " + asked.Options.Month, "description": "1,234 members"}, nil
}
