// Command outside is a bot in a module of its own. Its test proves that a program outside this repository can import
// arrakis. Such a program needs only a require and a replace directive in its go.mod.
//
//	outside NATS-URL REDIS-ADDRESS HTTP-ADDRESS
package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/signal"

	"github.com/nats-io/nats.go"
	"github.com/redis/go-redis/v9"

	"arrakis/pipeline"
	"arrakis/pipeline/worker"
)

func main() {
	if len(os.Args) != 4 {
		_, _ = fmt.Fprintln(os.Stderr, "usage: outside NATS-URL REDIS-ADDRESS HTTP-ADDRESS")
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	l, err := net.Listen("tcp", os.Args[3])
	if err == nil {
		err = bot(ctx, os.Args[1], os.Args[2], l)
	}
	if err != nil {
		_, _ = fmt.Fprintln(os.Stderr, "outside:", err)
		os.Exit(1)
	}
}

// bot answers the command hello until ctx ends. Commands arrive over HTTP or NATS.
func bot(ctx context.Context, natsURL, redisAddr string, l net.Listener) error {
	nc, err := nats.Connect(natsURL, nats.RetryOnFailedConnect(true), nats.MaxReconnects(-1))
	if err != nil {
		return fmt.Errorf("connect to NATS: %w", err)
	}
	defer nc.Close()
	rdb := redis.NewClient(&redis.Options{Addr: redisAddr, ContextTimeoutEnabled: true})
	defer func() { _ = rdb.Close() }() // nothing is pending

	handlers := pipeline.NewHandlers()
	handlers.Command("hello", func(_ context.Context, m *pipeline.Message) (any, error) {
		return "hello, " + m.Community, nil
	})
	w, err := worker.New(worker.Options{NATS: nc, Redis: rdb, Handlers: handlers, HTTP: l})
	if err != nil {
		return errors.Join(err, l.Close())
	}
	return w.Run(ctx)
}
