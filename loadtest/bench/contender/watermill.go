package contender

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"

	"github.com/ThreeDotsLabs/watermill"
	wmjetstream "github.com/ThreeDotsLabs/watermill-nats/v2/pkg/jetstream"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/go-redis/redis_rate/v10"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"

	"arrakis/loadtest/bench/workload"
	"arrakis/pipeline/contract"
)

// startWatermill runs a Watermill router on the same consumer, with redis_rate in its handler. It acknowledges without
// waiting for the server, does not log, and has neither middleware nor metrics, which is to its favour.
func startWatermill(ctx context.Context, e *env) (*running, error) {
	nc, err := nats.Connect(e.spec.NATS, nats.Name("bench watermill")) // the subscriber closes it
	if err != nil {
		return nil, err
	}
	// A subscription hands out its next message when the one before is acknowledged, so there is one for each handler.
	handlers := cmp.Or(e.spec.Handlers, manyHandlers)
	log := watermill.NopLogger{}
	sub, err := wmjetstream.NewSubscriber(wmjetstream.SubscriberConfig{
		Conn: nc, Logger: log, AckAsync: true,
		ResourceInitializer: wmjetstream.ExistingConsumer(func(string, string) jetstream.ConsumerConfig {
			return jetstream.ConsumerConfig{Name: contract.ConsumerCommand}
		}, ""),
		ConsumeOptions: []jetstream.PullConsumeOpt{jetstream.PullMaxMessages(pullBatch / handlers)},
	})
	if err != nil {
		return nil, err
	}
	router, err := message.NewRouter(message.RouterConfig{}, log)
	if err != nil {
		return nil, err
	}
	handle := e.watermillHandler() //nolint:contextcheck // a message carries its own
	for i := range handlers {
		router.AddConsumerHandler(fmt.Sprintf("worker-%03d", i), contract.StreamCommands, sub, handle)
	}
	var g errgroup.Group
	g.Go(func() error { return router.Run(ctx) })
	<-router.Running()
	return &running{stop: func() error {
		if err := router.Close(); err != nil {
			return err
		}
		return g.Wait()
	}}, nil
}

func (e *env) watermillHandler() message.NoPublishHandlerFunc {
	limits, policies := redis_rate.NewLimiter(e.rdb), e.policies()
	return func(m *message.Message) error {
		var body envelope
		if err := json.Unmarshal(m.Payload, &body); err != nil {
			return err
		}
		if limit := policies[body.GuildID].limit; limit != workload.Unlimited {
			r, err := limits.Allow(m.Context(), body.GuildID, redis_rate.PerMinute(int(limit)))
			if err != nil {
				return err
			}
			if r.Allowed == 0 {
				return nil // limited, and acknowledged
			}
		}
		return e.perform(m.Context(), body.Data.CommandName, body.GuildID, body.due())
	}
}
