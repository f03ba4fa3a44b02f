package streams

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"arrakis/pipeline/contract"
)

// consumerTimeout bounds the look at one consumer: one without a leader does not answer.
const consumerTimeout = 2 * time.Second

// Status is what is known of a stream at one moment.
type Status struct {
	Stream   string
	Exists   bool // the fields below are zero if it does not
	Messages uint64
	Bytes    uint64
	MaxBytes int64         // below 1: no bound
	Oldest   time.Duration // age of the oldest message by the server's clock; 0 without messages
	Leader   string        // server that leads the stream; "" if it has no replicas
	// Dropped is how many messages the stream has dropped unread. It is nil if Redis does not answer, and for a stream
	// that no Keeper looks at.
	Dropped   *uint64
	Consumers []ConsumerStatus
	Changes   []Change // differences from the settings, with those of the consumers
}

// ConsumerStatus is what is known of a consumer. Those of lanes are told only if they do not answer.
type ConsumerStatus struct {
	Consumer    string
	Fault       string // "" if the consumer answers; the fields below are zero if it does not
	Pending     uint64 // messages that were not delivered yet
	Unacked     int    // messages that were delivered and not acknowledged
	Redelivered int    // those of them that were delivered more than once
	Leader      string // server that leads the consumer; "" if its stream has no replicas
}

// Look returns the status of every stream of the contract, in a fixed order, but for those that the server is too old
// for. o are the settings to compare with. Redis
// may be away, and a stream or consumer that does not exist or does not answer is no error.
func Look(ctx context.Context, js jetstream.JetStream, r *Records, o Options) ([]Status, error) {
	var all []Status
	redisAway := false
	for _, want := range wanted(o) {
		s, err := lookAt(ctx, js, want)
		if err != nil {
			return nil, fmt.Errorf("look at stream %s: %w", want.config.Name, err)
		}
		if slices.Contains(watched(), s.Stream) && !redisAway {
			dropped, err := r.Dropped(ctx, s.Stream)
			if redisAway = err != nil; !redisAway {
				s.Dropped = &dropped
			}
		}
		if !s.Exists && want.level > 0 && errors.Is(checkLevel(ctx, js, want), errTooOld) {
			continue
		}
		all = append(all, s)
	}
	return all, nil
}

func lookAt(ctx context.Context, js jetstream.JetStream, want stream) (Status, error) {
	status := Status{Stream: want.config.Name}
	s, err := js.Stream(ctx, status.Stream)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return status, nil
	}
	if err != nil {
		return status, err
	}
	info := s.CachedInfo()
	status.Exists, status.Messages, status.Bytes = true, info.State.Msgs, info.State.Bytes
	status.MaxBytes, status.Leader = info.Config.MaxBytes, leader(info.Cluster)
	if info.State.Msgs > 0 {
		status.Oldest = max(0, info.TimeStamp.Sub(info.State.FirstTime))
	}
	status.Changes = streamChanges(&info.Config, &want.config)
	for _, c := range want.consumers {
		at, changes := lookAtConsumer(ctx, s, c)
		status.Consumers = append(status.Consumers, at)
		status.Changes = append(status.Changes, changes...)
	}
	if status.Stream == contract.StreamOverflow {
		status.Consumers = append(status.Consumers, faultyLanes(ctx, s)...)
	}
	return status, nil
}

// faultyLanes returns the consumers of lanes that exist and do not answer. What waits in lanes is told elsewhere, by
// community.
func faultyLanes(ctx context.Context, s jetstream.Stream) []ConsumerStatus {
	var all []ConsumerStatus
	names := s.ConsumerNames(ctx)
	for name := range names.Name() {
		if _, ok := contract.LaneOfConsumer(name); ok && len(all) < contract.NumLanes {
			all = append(all, ConsumerStatus{Consumer: name})
		}
	}
	if names.Err() != nil {
		return nil // the stream itself has just answered: it is looked at again
	}
	var looks sync.WaitGroup // at the same time: of those without a leader, each takes consumerTimeout
	for i := range all {
		looks.Go(func() { all[i], _ = lookAtConsumer(ctx, s, jetstream.ConsumerConfig{Durable: all[i].Consumer}) })
	}
	looks.Wait()
	all = slices.DeleteFunc(all, func(c ConsumerStatus) bool { return c.Fault == "" })
	slices.SortFunc(all, func(a, b ConsumerStatus) int { return strings.Compare(a.Consumer, b.Consumer) })
	return all
}

func lookAtConsumer(ctx context.Context, s jetstream.Stream, want jetstream.ConsumerConfig) (ConsumerStatus, []Change) {
	ctx, cancel := context.WithTimeout(ctx, consumerTimeout)
	defer cancel()
	status := ConsumerStatus{Consumer: want.Durable}
	c, err := s.Consumer(ctx, want.Durable)
	switch {
	case errors.Is(err, jetstream.ErrConsumerNotFound):
		status.Fault = "does not exist"
		return status, nil
	case errors.Is(err, jetstream.ErrNotPullConsumer):
		status.Fault = "is a push consumer"
		return status, []Change{pushConsumer(s.CachedInfo().Config.Name, want.Durable)}
	case err != nil:
		status.Fault = "does not answer: has it a leader?"
		return status, nil
	}
	info := c.CachedInfo()
	status.Pending, status.Unacked, status.Redelivered = info.NumPending, info.NumAckPending, info.NumRedelivered
	status.Leader = leader(info.Cluster)
	return status, consumerChanges(s.CachedInfo().Config.Name, &info.Config, &want)
}

func leader(c *jetstream.ClusterInfo) string {
	if c == nil {
		return ""
	}
	return c.Leader
}
