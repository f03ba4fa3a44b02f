package contender

import (
	"context"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"
)

// startBare acknowledges what comes, and does nothing else: what no worker can be faster than.
func startBare(_ context.Context, e *env) (*running, error) {
	consume, err := e.consumer.Consume(func(m jetstream.Msg) {
		if err := m.Ack(); err != nil {
			e.log.Error("not acknowledged", "err", err)
		}
	}, jetstream.PullMaxMessages(pullBatch))
	if err != nil {
		return nil, fmt.Errorf("consume: %w", err)
	}
	return &running{stop: func() error {
		consume.Drain()
		<-consume.Closed()
		return nil
	}}, nil
}
