package program

import (
	"context"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// EachStream calls f with every stream.
func EachStream(ctx context.Context, js jetstream.JetStream, f func(jetstream.Stream) error) error {
	names := js.StreamNames(ctx)
	for name := range names.Name() {
		stream, err := js.Stream(ctx, name)
		if err == nil {
			err = f(stream)
		}
		if err != nil {
			return fmt.Errorf("stream %s: %w", name, err)
		}
	}
	return names.Err()
}

// EachConsumer calls f with every consumer of a stream.
func EachConsumer(ctx context.Context, stream jetstream.Stream, f func(*jetstream.ConsumerInfo) error) error {
	consumers := stream.ListConsumers(ctx)
	for c := range consumers.Info() {
		if err := f(c); err != nil {
			return fmt.Errorf("consumer %s: %w", c.Name, err)
		}
	}
	return consumers.Err()
}

// SetAckWaits gives all consumers that there are an ack wait, so that a run sees sooner what a worker that died leaves to
// the others.
func SetAckWaits(ctx context.Context, js jetstream.JetStream, wait time.Duration) error {
	return EachStream(ctx, js, func(stream jetstream.Stream) error { return SetAckWait(ctx, stream, wait) })
}

// SetAckWait gives the consumers of a stream an ack wait.
func SetAckWait(ctx context.Context, stream jetstream.Stream, wait time.Duration) error {
	return EachConsumer(ctx, stream, func(c *jetstream.ConsumerInfo) error {
		config := c.Config
		if config.AckWait == wait {
			return nil
		}
		config.AckWait = wait
		_, err := stream.UpdateConsumer(ctx, config)
		return err
	})
}
