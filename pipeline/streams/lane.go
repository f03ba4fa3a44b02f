package streams

import (
	"context"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"arrakis/pipeline/contract"
)

const (
	// maxLaneMessages bounds the messages of one community and kind in a lane, so that none fills OVERFLOW with small
	// messages for all.
	maxLaneMessages = 500_000
	// laneAckWait is short: what a lost worker had of a lane comes again after it. Workers tell that a message is in
	// progress while it waits or runs, whatever its kind.
	laneAckWait = 30 * time.Second
)

// EnsureLane makes the consumer of a lane, in OVERFLOW, if it does not exist. One that exists is used as it is. Several
// processes may call EnsureLane at the same time. The error is [jetstream.ErrStreamNotFound] if there is no OVERFLOW.
func EnsureLane(ctx context.Context, js jetstream.JetStream, lane int, o Options) error {
	ctx, cancel := context.WithTimeout(ctx, stepTimeout)
	defer cancel()
	_, err := js.CreateConsumer(ctx, contract.StreamOverflow, jetstream.ConsumerConfig{
		Durable: contract.LaneConsumer(lane), FilterSubject: contract.LaneFilter(lane),
		AckPolicy: jetstream.AckExplicitPolicy, AckWait: laneAckWait,
		MaxDeliver:    -1, // as for the consumers of the routes
		MaxAckPending: o.WithDefaults().MaxAckPending,
	})
	if err != nil && !existsAlready(err) {
		return fmt.Errorf("create consumer %s of %s: %w", contract.LaneConsumer(lane), contract.StreamOverflow, err)
	}
	return nil
}
