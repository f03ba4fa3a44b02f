package pipeline

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"arrakis/pipeline/wire"
)

// source pulls the messages of one durable consumer.
type source struct {
	// Set by newSource, read-only.
	kind     wire.Kind
	stream   string
	durable  string
	js       jetstream.JetStream
	log      *slog.Logger
	messages chan jetstream.Msg // sent by the consumer's callback, received by decode, never closed
	ended    chan struct{}      // closed by run: no message comes any more

	ackWait atomic.Int64 // ns; written by pull, read by the handle stage
	pulling atomic.Bool  // written by pull, read by Ready
	pending atomic.Int64 // messages not yet delivered; written by watch, read by the metrics
	ahead   atomic.Int64 // ns by which the server's clock is ahead of this process's; written by watch
}

const (
	// pullBatch is how many messages a consumer has under way to this process.
	// They are buffered here while the decode stage is blocked.
	pullBatch = 1_000
	// watchInterval is how often a consumer is asked for its lag.
	watchInterval = 10 * time.Second
	// requestTimeout bounds one request to JetStream's API.
	requestTimeout = 5 * time.Second
	// rejoinDelay is how long after its consumer was lost a source looks for it again.
	rejoinDelay = time.Second
)

func newSource(js jetstream.JetStream, kind wire.Kind, stream, durable string, log *slog.Logger) *source {
	s := &source{
		kind: kind, stream: stream, durable: durable, js: js,
		log:      log.With("component", "source", "stream", stream, "consumer", durable),
		messages: make(chan jetstream.Msg, pullBatch),
		ended:    make(chan struct{}),
	}
	s.ackWait.Store(int64(30 * time.Second))
	return s
}

// run pulls until ctx ends, then hands over what was already on its way and
// closes ended. A consumer that vanishes is waited for; ensure makes it
// again.
func (s *source) run(ctx context.Context, ensure func(context.Context) error) {
	defer close(s.ended)
	for ctx.Err() == nil {
		if err := s.pull(ctx); err != nil && ctx.Err() == nil {
			s.log.WarnContext(ctx, "not pulling: trying again", "err", err, "delay", rejoinDelay)
			select {
			case <-ctx.Done():
			case <-time.After(rejoinDelay):
				if err := ensure(ctx); err != nil && ctx.Err() == nil {
					s.log.WarnContext(ctx, "streams cannot be checked", "err", err)
				}
			}
		}
	}
}

// pull pulls from the consumer until ctx ends or the consumer is lost.
func (s *source) pull(ctx context.Context) error {
	consumer, err := s.consumer(ctx)
	if err != nil {
		return err
	}
	lost := make(chan error, 1)
	consume, err := consumer.Consume(
		s.take,
		jetstream.PullMaxMessages(pullBatch),
		jetstream.ConsumeErrHandler(func(_ jetstream.ConsumeContext, err error) {
			if errors.Is(err, jetstream.ErrConsumerDeleted) || errors.Is(err, jetstream.ErrConsumerNotFound) {
				select {
				case lost <- err:
				default:
				}
				return
			}
			s.log.DebugContext(ctx, "pull", "err", err)
		}))
	if err != nil {
		return fmt.Errorf("consume: %w", err)
	}
	s.pulling.Store(true)
	defer s.pulling.Store(false)
	s.log.DebugContext(ctx, "pulling")
	select {
	case <-ctx.Done():
		err = nil
	case err = <-lost:
	case <-consume.Closed():
		err = errors.New("the subscription was closed")
	}
	consume.Drain()
	select {
	case <-consume.Closed():
	case <-time.After(requestTimeout): // the connection is away; what it still had comes again
		consume.Stop()
	}
	return err
}

// take is called by the consumer with each message. It blocks while decode is
// behind: that is the backpressure.
func (s *source) take(m jetstream.Msg) {
	select {
	case s.messages <- m:
	case <-s.ended: // it is delivered again after its ack wait
	}
}

// consumer looks the consumer up and learns its ack wait and the server's clock.
func (s *source) consumer(ctx context.Context) (jetstream.Consumer, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	asked := time.Now()
	consumer, err := s.js.Consumer(ctx, s.stream, s.durable)
	if err != nil {
		return nil, fmt.Errorf("look up consumer %s of %s: %w", s.durable, s.stream, err)
	}
	info := consumer.CachedInfo()
	if info.Config.AckWait > 0 {
		s.ackWait.Store(int64(info.Config.AckWait))
	}
	s.learn(info, asked)
	return consumer, nil
}

// watch follows the consumer's lag until ctx ends.
func (s *source) watch(ctx context.Context) {
	tick := time.NewTicker(watchInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			if _, err := s.consumer(ctx); err != nil && ctx.Err() == nil {
				s.log.DebugContext(ctx, "consumer info", "err", err)
			}
		}
	}
}

// learn takes in what the server says of the consumer. The server's clock is
// read as of the middle of the request.
func (s *source) learn(info *jetstream.ConsumerInfo, asked time.Time) {
	s.pending.Store(int64(min(info.NumPending, 1<<62)))
	if !info.TimeStamp.IsZero() {
		middle := asked.Add(time.Since(asked) / 2)
		s.ahead.Store(int64(info.TimeStamp.Sub(middle)))
	}
}

// age is how long before now JetStream stored a message, by JetStream's own clock:
// the clock of this process may be wrong by minutes.
func (s *source) age(stored, now time.Time) time.Duration {
	return now.Sub(stored) + time.Duration(s.ahead.Load())
}
