package pipeline

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"arrakis/pipeline/contract"
	"arrakis/shard"
)

// source pulls the messages of one durable consumer.
type source struct {
	// Set by newSource, read-only.
	route    *contract.Route
	js       jetstream.JetStream
	log      *slog.Logger
	messages *shard.Mailbox[jetstream.Msg] // filled by the consumer's callback, emptied by decode, closed by run
	lost     chan error                    // size 1, a hint from the callbacks and watch to pull: the consumer is gone

	backlog uint64 // messages that JetStream has not delivered; owned by decode

	gathered atomic.Int64 // messages that are gathered when it is behind; written by pull and watch, read by decode
	ackWait  atomic.Int64 // ns; written by pull and watch, read by the handle stage
	pulling  atomic.Bool  // written by pull, read by Ready
	pending  atomic.Int64 // messages not yet delivered; written by watch, read by the metrics
	ahead    atomic.Int64 // ns by which the server's clock is ahead of this process's; written by watch
}

const (
	// pullBatch is how many messages a consumer has under way to this process.
	// They are buffered here while the decode stage is blocked.
	pullBatch = 1_000
	// pullBytes bounds the same in bytes.
	pullBytes = 16 << 20
	// A source that is behind by more than a pull gathers gatherMax messages before
	// they are decoded, or as many as come within gatherTime and without a pause of
	// gatherPause: the more of them go to a shard at once, the less each costs. They
	// would wait longer than that in JetStream anyway.
	gatherMax   = pullBatch / 2
	gatherTime  = 20 * time.Millisecond
	gatherPause = 2 * time.Millisecond
	// gatherShare is the part of what a consumer may have outstanding, over all
	// processes, that one source gathers at most: it must not wait for messages that
	// come only once others are acknowledged.
	gatherShare = 20
	// watchInterval is how often a consumer is asked for its lag, and so how
	// long one that was lost with its server's storage can go unnoticed.
	watchInterval = 5 * time.Second
	// drainCheck is how often a drain looks whether its connection is still there.
	drainCheck = 100 * time.Millisecond
	// requestTimeout bounds one request to JetStream's API.
	requestTimeout = 5 * time.Second
	// unknownAckWait is what a source takes its ack wait for until the consumer has
	// said it: so short that no message falls due before the first look.
	unknownAckWait = time.Second
	// rejoinDelay is how long after its consumer was lost a source looks for it again.
	rejoinDelay = time.Second
)

func newSource(js jetstream.JetStream, route *contract.Route, log *slog.Logger) *source {
	s := &source{
		route: route, js: js,
		log:      log.With("component", "source", "stream", route.Stream, "consumer", route.Consumer),
		messages: shard.NewMailbox[jetstream.Msg](pullBatch),
		lost:     make(chan error, 1),
	}
	s.ackWait.Store(int64(unknownAckWait))
	return s
}

// run pulls until ctx ends, then hands over what was already on its way, as
// long as work goes on, and closes messages. A consumer that vanishes is waited
// for; ensure makes it again.
func (s *source) run(ctx, work context.Context, ensure func(context.Context) error) {
	defer s.messages.Close()
	for ctx.Err() == nil {
		if err := s.pull(ctx, work); err != nil && ctx.Err() == nil {
			s.log.WarnContext(ctx, "not pulling: trying again", "err", err, "delay", rejoinDelay.String())
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
func (s *source) pull(ctx, work context.Context) error {
	consumer, err := s.consumer(ctx)
	if err != nil {
		return err
	}
	select {
	case old := <-s.lost:
		s.log.DebugContext(ctx, "a hint about the consumer as it was before", "err", old)
	default:
	}
	consume, err := consumer.Consume(
		s.receive,
		jetstream.PullMaxMessagesWithBytesLimit(pullBatch, pullBytes),
		jetstream.ConsumeErrHandler(func(_ jetstream.ConsumeContext, err error) {
			s.log.DebugContext(ctx, "pull", "err", err)
			s.checkLost(err)
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
	case err = <-s.lost:
	case <-consume.Closed():
		err = errors.New("the subscription was closed")
	}
	consume.Drain()
	for {
		select {
		case <-consume.Closed():
			return err
		case <-work.Done():
		case <-time.After(drainCheck):
			if s.js.Conn().IsConnected() {
				continue // it drains as fast as decode takes
			}
		}
		consume.Stop() // what it still had is delivered again after its ack wait
		return err
	}
}

// checkLost tells pull if err says that the stream or the consumer is gone.
func (s *source) checkLost(err error) {
	for _, gone := range []error{
		jetstream.ErrConsumerDeleted, jetstream.ErrConsumerNotFound, jetstream.ErrConsumerDoesNotExist, jetstream.ErrStreamNotFound,
	} {
		if errors.Is(err, gone) {
			select {
			case s.lost <- err:
			default:
			}
			return
		}
	}
}

// receive is called by the consumer with each message. It blocks while decode is
// behind: that is the backpressure.
func (s *source) receive(m jetstream.Msg) {
	// It fails only once run has ended: the message is delivered again after its ack wait.
	_ = s.messages.Put(context.Background(), m)
}

// next returns what has come, after a wait for more if the source is behind. It
// returns false when the source has ended and nothing is left. batch is what the
// last call returned.
func (s *source) next(batch []jetstream.Msg) ([]jetstream.Msg, bool) {
	if s.backlog > pullBatch {
		s.messages.Gather(int(s.gathered.Load()), gatherTime, gatherPause)
	}
	return s.messages.Take(batch)
}

// nakAll has JetStream deliver again an aborted batch and all that comes until
// the source has ended. What had reached a shard is settled twice: JetStream
// takes what it hears first.
func (s *source) nakAll(batch []jetstream.Msg) {
	for ok := true; ok; batch, ok = s.messages.Take(batch) {
		for _, m := range batch {
			_ = m.Nak() // else it is delivered again after its ack wait
		}
	}
}

// consumer looks the consumer up and learns its ack wait and the server's clock.
func (s *source) consumer(ctx context.Context) (jetstream.Consumer, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	asked := time.Now()
	consumer, err := s.js.Consumer(ctx, s.route.Stream, s.route.Consumer)
	if err != nil {
		return nil, fmt.Errorf("look up consumer %s of %s: %w", s.route.Consumer, s.route.Stream, err)
	}
	info := consumer.CachedInfo()
	s.gathered.Store(gatherMax)
	if limit := info.Config.MaxAckPending; limit > 0 {
		s.gathered.Store(int64(min(gatherMax, limit/gatherShare)))
	}
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
				s.checkLost(err)
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
