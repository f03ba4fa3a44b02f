package pipeline

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"arrakis/pipeline/contract"
	"arrakis/shard"
)

// source pulls the messages of one durable consumer.
type source struct {
	// Set by newSource, read-only.
	stream, consumer string
	route            *contract.Route             // of all messages; nil if they are carried messages, which say what they are
	lane             bool                        // the consumer reads a lane
	batch            int                         // messages requested in advance
	most             load                        // what this process may take in, see intake
	ensure           func(context.Context) error // makes the consumer again; nil: the caller of run does
	optional         bool                        // the process is ready without it
	js               jetstream.JetStream
	log              *slog.Logger
	messages         *shard.Mailbox[arrival] // filled by the consumer's callback, emptied by decode, closed by run
	lost             chan error              // size 1: callbacks, decode and the monitor tell pull to end
	freed            chan struct{}           // size 1: the intake tells whoever waits that there may be room
	passed           chan struct{}           // size 1: receive tells watch that half a batch has come
	// redelivered counts deliveries that are not the message's first. Set by newSource; New replaces it by a counter of
	// package streams for the streams of the routes.
	redelivered *atomic.Int64

	// Owned by decode.
	backlog    uint64 // messages that JetStream has not delivered yet
	reconnects uint32 // of the connection, when the batch began to be decoded

	// Protected by the fair queue's lock.
	queued int  // messages in the fair queue
	even   bool // at the last look, no community had more than its share of them

	stall stall // owned by look

	received atomic.Int64 // messages; written by receive, read by watch
	looked   time.Time    // when watch last looked whether JetStream has a request; owned by it

	held   load        // what is taken in and has not ended; protected by intake.mu
	paused atomic.Bool // it does not pull, for there is no room; set by pause, cleared by run

	pool     atomic.Int64 // messages that may be unacknowledged over all processes; written by pull and look
	unacked  atomic.Int64 // messages that are; written by pull and look
	gathered atomic.Int64 // messages to gather while it is behind; written by pull and look, read by decode
	ackWait  atomic.Int64 // ns; written by pull and look, read by the handle stage
	// redelivers: JetStream delivers a message until it is acknowledged, however often; written by pull and look.
	redelivers atomic.Bool

	pulling atomic.Bool            // written by run and pull, read by Ready
	trouble atomic.Pointer[string] // why it does not pull; nil while it pulls; written by run and pull, read by Ready
	pending atomic.Int64           // messages not yet delivered; written by pull and look, read by the metrics
	ahead   atomic.Int64           // ns by which the server's clock is ahead of this process's; written by pull and look
}

// errPullAgain makes a source end its pull requests and make new ones.
var errPullAgain = errors.New("the pull requests may be lost")

// errNoRoom makes a paused source end its pull requests.
var errNoRoom = errors.New("there is no room for more messages")

const (
	// pullBatch is how many messages this process requests of a consumer in advance, and how many wait for decode. They
	// are buffered in this process while the decode stage is blocked.
	pullBatch = 1_000
	// pullHeartbeat is how often JetStream tells that it knows of this process's request, while nothing comes. After twice
	// that time without a word the NATS library requests again. Each consumer of each process costs that message, those of
	// empty lanes too. The library's own heartbeat is 15 s.
	pullHeartbeat = 5 * time.Second
	// pullBytes bounds either of them in bytes.
	pullBytes = 16 << 20
	// A source with a backlog of more than pullBatch messages gathers before it decodes. It waits for gatherMax
	// messages, for gatherTime, or for a pause of gatherPause between messages, whichever comes first. A larger batch
	// costs a shard less for each message, and with such a backlog the messages would wait in JetStream anyway.
	gatherMax   = pullBatch / 2
	gatherTime  = 20 * time.Millisecond
	gatherPause = 2 * time.Millisecond
	// gatherShare bounds gatherMax by a twentieth of MaxAckPending: where MaxAckPending is small, JetStream never sends
	// gatherMax messages at once.
	gatherShare = 20
	// drainCheck is how often a drain checks that the connection still exists.
	drainCheck = 100 * time.Millisecond
	// requestTimeout bounds one request to JetStream's API.
	requestTimeout = 5 * time.Second
	// unknownAckWait is the ack wait that a source assumes until it has read the consumer's: short, so that progress is
	// told early enough whatever the real one is.
	unknownAckWait = time.Second
	// rejoinDelay is the time after which a source looks again for a consumer that it lost. It is longer than a health
	// report is served, so that /readyz shows the loss.
	rejoinDelay = 2 * time.Second
	// optionalDelay is the same for a consumer that may never exist, such as that of RETRY on an old server.
	optionalDelay = 10 * time.Second
)

// newRouteSource makes the source of a route's consumer.
func newRouteSource(js jetstream.JetStream, route *contract.Route, log *slog.Logger) *source {
	s := newSource(js, route.Stream, route.Consumer, log)
	s.route = route
	return s
}

// newSource makes the source of a consumer whose messages are carried messages.
func newSource(js jetstream.JetStream, stream, consumer string, log *slog.Logger) *source {
	s := &source{
		stream: stream, consumer: consumer, js: js, batch: pullBatch,
		most:        load{messages: math.MaxInt, bytes: math.MaxInt64},
		log:         log.With("component", "source", "stream", stream, "consumer", consumer),
		messages:    newArrivals(pullBatch),
		lost:        make(chan error, 1),
		freed:       make(chan struct{}, 1),
		passed:      make(chan struct{}, 1),
		redelivered: new(atomic.Int64),
	}
	s.ackWait.Store(int64(unknownAckWait))
	return s
}

// newArrivals makes the mailbox of a source, for so many messages.
func newArrivals(messages int) *shard.Mailbox[arrival] {
	return shard.NewSizedMailbox(messages, pullBytes, func(a arrival) int64 { return int64(a.size) })
}

// newOptionalSource makes the source of a consumer without which the process is ready.
func newOptionalSource(js jetstream.JetStream, stream, consumer string, log *slog.Logger) *source {
	s := newSource(js, stream, consumer, log)
	s.optional = true
	s.ackWait.Store(int64(time.Minute)) // as package streams makes it, where the server can have it
	return s
}

// newLaneSource makes the source of a lane's consumer, which takes in at most so many messages. Beside them, half of
// that is in the NATS library, and an eighth each waits for decode and is being taken in: the lane's backlog is to wait in
// the stream, not here. Fewer in advance would be too few while the server is slow, as it is when a burst is moved into
// the lane. ensure makes the consumer again.
func newLaneSource(js jetstream.JetStream, lane, most int, ensure func(context.Context) error, log *slog.Logger) *source {
	s := newSource(js, contract.StreamOverflow, contract.LaneConsumer(lane), log)
	s.lane, s.batch, s.ensure = true, min(max(most/2, minLaneBatch), pullBatch), ensure
	s.most = load{messages: most, bytes: laneBytes}
	s.messages = newArrivals(min(max(most/8, minLaneBatch), pullBatch))
	return s
}

// minLaneBatch is how many messages a lane's source requests in advance, at least: a request for each message would be
// most of what a message costs.
const minLaneBatch = 16

// run pulls until ctx ends. Then it hands over the messages that were already on their way, until work ends, and closes
// messages. If the consumer vanishes, run waits for it; ensure creates it again.
func (s *source) run(ctx, work context.Context, in *intake, ensure func(context.Context) error) {
	defer s.messages.Close()
	if s.ensure != nil {
		ensure = s.ensure
	}
	for s.resume(ctx, in) {
		err := s.pull(ctx, work)
		if err == nil || ctx.Err() != nil || errors.Is(err, errPullAgain) || errors.Is(err, errNoRoom) {
			continue
		}
		delay := rejoinDelay
		if !s.pulling.Swap(false) && s.optional {
			delay = optionalDelay
		}
		s.troubled(ctx, err, delay)
		select {
		case <-ctx.Done():
		case <-time.After(delay):
			_ = ensure(ctx) // the ensurer has logged the error and remembers it for Ready
		}
	}
	s.pulling.Store(false)
}

// pause makes the source stop pulling until there is room.
func (s *source) pause() {
	s.paused.Store(true)
	s.restart(errNoRoom)
}

// resume waits for room if the source is paused. It returns false when ctx has ended.
func (s *source) resume(ctx context.Context, in *intake) bool {
	if !s.paused.Load() {
		return ctx.Err() == nil
	}
	s.log.DebugContext(ctx, "not pulling: there is no room")
	if !in.wait(ctx, s) {
		return false
	}
	s.paused.Store(false)
	s.log.DebugContext(ctx, "pulling again: there is room")
	return true
}

// troubled remembers why the source does not pull. It logs the first reason since the source pulled.
func (s *source) troubled(ctx context.Context, err error, delay time.Duration) {
	why := err.Error()
	if s.trouble.Swap(&why) == nil {
		s.log.WarnContext(ctx, "not pulling: trying again", "err", err, "delay", delay.String())
		return
	}
	s.log.DebugContext(ctx, "not pulling", "err", err)
}

// pull pulls from the consumer until ctx ends or the consumer is lost.
func (s *source) pull(ctx, work context.Context) error {
	consumer, err := s.lookUp(ctx)
	if err != nil {
		return err
	}
	select {
	case old := <-s.lost:
		s.log.DebugContext(ctx, "an old error of the consumer is ignored", "err", old)
	default:
	}
	if s.paused.Load() {
		return errNoRoom
	}
	consume, err := consumer.Consume(
		s.receive(work),
		jetstream.PullMaxMessagesWithBytesLimit(s.batch, pullBytes),
		jetstream.PullHeartbeat(pullHeartbeat),
		jetstream.ConsumeErrHandler(func(_ jetstream.ConsumeContext, err error) {
			s.log.DebugContext(ctx, "pull", "err", err)
			s.checkLost(err)
		}))
	if err != nil {
		return fmt.Errorf("consume: %w", err)
	}
	s.pulling.Store(true)
	if s.trouble.Swap(nil) != nil {
		s.log.InfoContext(ctx, "pulling again")
	}
	err = s.watch(ctx, consume)
	consume.Drain()
	for {
		select {
		case <-consume.Closed():
			return err
		case <-time.After(drainCheck):
			if s.js.Conn().IsConnected() {
				continue // the drain is as fast as decode, and after the end of work as fast as receive gives back
			}
		}
		consume.Stop() // without a connection no message can be given back: they are delivered again after their ack wait
		return err
	}
}

// checkLost tells pull when err means that the stream or the consumer is gone.
func (s *source) checkLost(err error) {
	if isGone(err) {
		s.restart(err)
	}
}

// isGone reports whether err means that a stream or a consumer does not exist.
func isGone(err error) bool {
	for _, gone := range []error{
		jetstream.ErrConsumerDeleted, jetstream.ErrConsumerNotFound, jetstream.ErrConsumerDoesNotExist, jetstream.ErrStreamNotFound,
	} {
		if errors.Is(err, gone) {
			return true
		}
	}
	return false
}

// restart makes pull end with err. It has no effect while another reason waits.
func (s *source) restart(err error) {
	select {
	case s.lost <- err:
	default:
	}
}

// receive returns what the consumer calls with each message. It blocks while decode is behind; that is the
// backpressure. When work has ended, messages for which there is no room are given back.
func (s *source) receive(work context.Context) jetstream.MessageHandler {
	return func(m jetstream.Msg) {
		if s.received.Add(1)%int64(s.batch/2) == 0 {
			select {
			case s.passed <- struct{}{}:
			default:
			}
		}
		if err := s.messages.Put(work, newArrival(m)); err != nil {
			_ = m.Nak() // if this fails, m is delivered again after its ack wait
		}
	}
}

// next returns the messages that have arrived. If the source is behind, next first waits for more. It returns false
// when the source has ended and no message is left. batch is the slice that the last call returned.
func (s *source) next(batch []arrival) ([]arrival, bool) {
	if s.backlog > pullBatch {
		s.messages.Gather(int(s.gathered.Load()), gatherTime, gatherPause)
	}
	return s.messages.Take(batch)
}

// nakAll gives back the messages of an aborted batch, and all that arrive until the source has ended. A message that a
// shard already holds may be settled twice; JetStream keeps the first.
func (s *source) nakAll(batch []arrival) {
	for ok := true; ok; batch, ok = s.messages.Take(batch) {
		for _, m := range batch {
			_ = m.Nak() // if this fails, m is delivered again after its ack wait
		}
	}
}

// lookUp looks the consumer up. It reads the consumer's ack wait and the server's clock.
func (s *source) lookUp(ctx context.Context) (jetstream.Consumer, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	asked := time.Now()
	consumer, err := s.js.Consumer(ctx, s.stream, s.consumer)
	if err != nil {
		return nil, fmt.Errorf("look up consumer %s of %s: %w", s.consumer, s.stream, err)
	}
	info := consumer.CachedInfo()
	s.gathered.Store(gatherMax)
	s.pool.Store(math.MaxInt32)
	if limit := info.Config.MaxAckPending; limit > 0 {
		s.pool.Store(int64(limit))
		s.gathered.Store(int64(min(gatherMax, limit/gatherShare)))
	}
	if info.Config.AckWait > 0 {
		s.ackWait.Store(int64(info.Config.AckWait))
	}
	s.redelivers.Store(info.Config.MaxDeliver <= 0 && info.Config.AckPolicy == jetstream.AckExplicitPolicy)
	s.learn(info, asked)
	return consumer, nil
}

// look looks at the consumer for the monitor, and stores its lag.
func (s *source) look(ctx context.Context) *fault {
	consumer, err := s.lookUp(ctx)
	if err != nil {
		s.checkLost(err)
		return faultOf(err)
	}
	info := consumer.CachedInfo()
	if f := leaderless(info.Cluster); f != nil {
		return f
	}
	// Looks are not exactly lookInterval apart.
	if d := s.stall.see(info, s.messages.Full() || s.paused.Load(), time.Now()); d > stallTime-lookInterval/2 {
		f := &fault{what: faultStall, detail: fmt.Sprintf("%d pending, none delivered for %s", info.NumPending, d.Round(time.Second))}
		if info.Paused {
			f.detail += "; the consumer is paused"
		}
		return f
	}
	return nil
}

// learn stores the consumer's lag and the difference to the server's clock. It assumes that the server read its clock
// in the middle of the request.
func (s *source) learn(info *jetstream.ConsumerInfo, asked time.Time) {
	s.pending.Store(int64(min(info.NumPending, 1<<62)))
	s.unacked.Store(int64(info.NumAckPending))
	if !info.TimeStamp.IsZero() {
		middle := asked.Add(time.Since(asked) / 2)
		s.ahead.Store(int64(info.TimeStamp.Sub(middle)))
	}
}

// age is how long before now JetStream stored a message. It is measured by JetStream's clock, because the clock of this
// process may be wrong by minutes.
func (s *source) age(stored, now time.Time) time.Duration {
	return now.Sub(stored) + s.clock()
}

// clock is how far JetStream's clock is ahead of that of this process.
func (s *source) clock() time.Duration { return time.Duration(s.ahead.Load()) }

// lostSince reports whether the connection to NATS was lost, or still is, since it had been made again so often.
func (s *source) lostSince(reconnects uint32) bool {
	return !s.js.Conn().IsConnected() || s.connections() != reconnects
}

// connections is how often the connection to NATS was made again.
func (s *source) connections() uint32 { return connections(s.js.Conn()) }

func connections(nc *nats.Conn) uint32 { return uint32(nc.Stats().Reconnects) } //nolint:gosec // far below 4e9
