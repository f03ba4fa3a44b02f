package rabbitmq

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"arrakis/pipeline/contract"
)

// ReverseOptions are those of [Reverse]. The zero value of a field that is not required is its default.
type ReverseOptions struct {
	Server Server
	NATS   *nats.Conn  // required
	From   Destination // required
	// Exchange is where messages are published; "" is the default exchange, whose routing keys are queues.
	Exchange string
	// RoutingKey is that of all messages; for the default exchange the name of the queue, which is required.
	RoutingKey string
	// Batch is how many messages are on their way at once, 1 to 1,000. Defaults to 500.
	Batch int
	// Idle is for how long RabbitMQ must have confirmed nothing until Reverse returns although messages are left, at least
	// 100 ms: workers that were killed still hold them, and JetStream gives them out after the ack wait of their kind, from
	// 15 s to 5 min; or RabbitMQ takes no more. Defaults to 1 minute.
	Idle time.Duration
	// Limit is how many messages are taken at most. 0: all.
	Limit  int
	Logger *slog.Logger // defaults to none
	// Progress is called after a batch, every 2 seconds at most.
	Progress func(ReverseCounts)
}

// ReverseCounts are what both sides have counted. Each message that was acknowledged was confirmed by RabbitMQ.
type ReverseCounts struct {
	Taken       uint64 `json:"taken"`        // from JetStream, again or for the first time
	Redelivered uint64 `json:"redelivered"`  // of these, those that JetStream had delivered before, to anybody
	Confirmed   uint64 `json:"confirmed"`    // by RabbitMQ
	Returned    uint64 `json:"returned"`     // by RabbitMQ, because no queue takes them
	Acked       uint64 `json:"acknowledged"` // to JetStream
	Left        uint64 `json:"left"`         // that wait for the consumers, or that others hold unacknowledged
	Reconnects  uint64 `json:"reconnects"`   // to RabbitMQ
}

// The errors of [Reverse] that callers may branch on.
var (
	// ErrWorkers means that workers read the messages.
	ErrWorkers = errors.New("workers read these messages: stop them first")
	// ErrReturned means that RabbitMQ has returned messages because no queue takes them. They are still in the stream.
	ErrReturned = errors.New("no queue takes messages of this exchange and routing key")
	// ErrFull means that RabbitMQ has refused messages for as long as Idle. They are still in the stream.
	ErrFull = errors.New("RabbitMQ takes no more messages, as when a queue is at its bound (max-length with x-overflow: reject-publish): " +
		"start its consumers or raise the bound, then run the same command again; what was not confirmed waits in NATS")
)

func (o *ReverseOptions) validate() error {
	errs := []error{o.Server.validate(), o.From.validate()}
	if o.NATS == nil {
		errs = append(errs, errors.New("field NATS is required"))
	}
	if o.Exchange == "" && o.RoutingKey == "" {
		errs = append(errs, errors.New("field RoutingKey is the name of the queue, and required, unless there is an Exchange"))
	}
	if n := max(len(o.Exchange), len(o.RoutingKey)); n > maxShort {
		errs = append(errs, fmt.Errorf("field Exchange or RoutingKey has %d bytes: expected at most %d", n, maxShort))
	}
	return errors.Join(append(errs, validatePace("Batch", o.Batch, o.Idle, o.Limit))...)
}

// Reverse moves what waits in a stream to RabbitMQ, through the durable consumers of the workers, which must not run: it
// returns [ErrWorkers] if they do. So it takes nothing that a worker holds. It returns nil when nothing is left, Limit is
// reached or ctx has ended; ReverseCounts say what is left. What waits in RETRY, and in lanes of OVERFLOW, stays there.
// After [ErrReturned], [ErrFull] and every other error, what was not confirmed is in the stream. A message may come to RabbitMQ twice.
func Reverse(ctx context.Context, o ReverseOptions) (ReverseCounts, error) {
	o.Batch, o.Idle = cmp.Or(o.Batch, 500), cmp.Or(o.Idle, time.Minute)
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	r := &reverse{ReverseOptions: o}
	if err := o.validate(); err != nil {
		return r.counts, err
	}
	js, err := jetstream.New(o.NATS)
	if err != nil {
		return r.counts, err
	}
	for _, kind := range o.From.kinds() {
		c, err := js.Consumer(ctx, kind.Route().Stream, kind.Route().Consumer)
		if err != nil {
			return r.counts, fmt.Errorf("consumer %s of %s: %w", kind.Route().Consumer, kind.Route().Stream, err)
		}
		if c.CachedInfo().NumWaiting > 0 {
			return r.counts, fmt.Errorf("consumer %s of %s: %w", kind.Route().Consumer, kind.Route().Stream, ErrWorkers)
		}
		r.consumers = append(r.consumers, c)
	}
	work := sessions{
		server: o.Server,
		open:   func(ctx context.Context) (*session, error) { return openSession(ctx, o.Server) },
		use:    r.use, reconnects: &r.counts.Reconnects, log: o.Logger,
	}
	err = work.run(ctx)
	if unseen := r.look(context.WithoutCancel(ctx)); err == nil {
		err = unseen
	}
	return r.counts, err
}

// reverse is the work of Reverse, done by one goroutine.
type reverse struct {
	ReverseOptions
	consumers []jetstream.Consumer
	counts    ReverseCounts
	said      time.Time // when Progress was last called
	away      bool      // NATS has not answered since it last failed to
	pauses    pauses    // of NATS
	full      full
}

// look counts what is left. After an error the count is the one before.
func (r *reverse) look(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	left := uint64(0)
	for _, c := range r.consumers {
		info, err := c.Info(ctx)
		if err != nil {
			return fmt.Errorf("consumer %s of NATS: %w", c.CachedInfo().Name, err)
		}
		left += info.NumPending + uint64(info.NumAckPending) //nolint:gosec // a count
	}
	r.counts.Left, r.away, r.pauses = left, false, pauses{}
	return nil
}

// natsFails waits until it is time to ask NATS again. It returns an error if that would not help.
func (r *reverse) natsFails(ctx context.Context, err error) error {
	if errors.Is(err, jetstream.ErrConsumerNotFound) || errors.Is(err, jetstream.ErrStreamNotFound) {
		return finalError{err}
	}
	if err := closed(r.NATS); err != nil {
		return err
	}
	if !r.away {
		r.away = true
		r.Logger.WarnContext(ctx, "NATS does not answer: asking again", "err", err)
	}
	r.pauses.wait(ctx)
	return nil
}

// full is that RabbitMQ refuses messages. It logs when that begins and when it ends.
type full struct {
	since  time.Time // zero while all are taken
	pauses pauses
}

// takes is told whether RabbitMQ has taken all it was given.
func (r *reverse) takes(all bool) {
	switch was := !r.full.since.IsZero(); {
	case all && was:
		r.Logger.Info("RabbitMQ takes messages again", "after", time.Since(r.full.since).Round(time.Second))
		r.full = full{}
	case !all && !was:
		r.full.since = time.Now()
		r.Logger.Warn("RabbitMQ takes no more: is the queue at its bound? Messages wait in NATS and are tried again")
	}
}

// use moves messages by way of a session until the work is done, which is nil, or the session is lost.
func (r *reverse) use(ctx context.Context, s *session, worked func()) error {
	defer s.close()
	p, err := newPublisher(s, r.Exchange, r.RoutingKey, r.Batch)
	if err != nil {
		return err
	}
	for began := time.Now(); ; {
		confirmed, moved, refused := r.counts.Confirmed, 0, false
		for _, c := range r.consumers {
			n, err := r.batch(ctx, c, p)
			moved += n
			if errors.Is(err, ErrFull) {
				refused = true
			} else if err != nil {
				return err
			}
		}
		if moved > 0 {
			worked()
			r.takes(!refused)
		}
		if r.counts.Confirmed > confirmed {
			began = time.Now()
		}
		if r.Limit > 0 && r.counts.Acked >= uint64(r.Limit) || ctx.Err() != nil {
			return nil
		}
		if err := r.look(ctx); err != nil {
			if err := r.natsFails(ctx, err); err != nil {
				return err
			}
			continue
		}
		if r.Progress != nil && time.Since(r.said) > progressEvery {
			r.said = time.Now()
			r.Progress(r.counts)
		}
		switch over := time.Since(began) > r.Idle; {
		case over && refused:
			return finalError{ErrFull}
		case over || r.counts.Left == 0:
			return nil
		}
		if refused {
			r.full.pauses.wait(ctx)
		}
	}
}

// fetchWait is how long a pull waits for the first message.
const fetchWait = time.Second

// batch moves a batch of messages of a consumer, and returns how many there were. After ErrFull it may be called again.
func (r *reverse) batch(ctx context.Context, c jetstream.Consumer, p *publisher) (int, error) {
	size := r.Batch
	if r.Limit > 0 {
		size = min(size, r.Limit-int(r.counts.Acked)) //nolint:gosec // at most Limit
	}
	if size <= 0 {
		return 0, nil
	}
	fetched, err := c.Fetch(size, jetstream.FetchMaxWait(fetchWait))
	if err != nil {
		return 0, finalError{fmt.Errorf("fetch: %w", err)}
	}
	var messages []jetstream.Msg
	for m := range fetched.Messages() {
		messages = append(messages, m)
	}
	if len(messages) == 0 {
		return 0, nil
	}
	r.counts.Taken += uint64(len(messages))
	// An answer must come before JetStream gives the messages to somebody else.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), c.CachedInfo().Config.AckWait/2)
	defer cancel()
	results, err := p.publish(ctx, messages)
	for i, m := range messages {
		r.settle(m, results[i])
	}
	if flushed := r.NATS.FlushWithContext(ctx); err == nil && flushed != nil {
		r.Logger.WarnContext(ctx, "acknowledgements may be lost: these messages come to RabbitMQ again", "err", flushed)
	}
	switch {
	case err != nil:
	case r.counts.Returned > 0:
		err = finalError{fmt.Errorf("exchange %q, routing key %q: %w", r.Exchange, r.RoutingKey, ErrReturned)}
	case slices.Contains(results, refused):
		err = ErrFull
	}
	return len(messages), err
}

// settle tells JetStream what has become of a message. What JetStream does not hear comes again.
func (r *reverse) settle(m jetstream.Msg, result published) {
	if meta, err := m.Metadata(); err == nil && meta.NumDelivered > 1 {
		r.counts.Redelivered++
	}
	var err error
	switch result {
	case confirmed:
		r.counts.Confirmed++
		if err = m.Ack(); err == nil {
			r.counts.Acked++
		}
	case returned:
		r.counts.Returned++
		err = m.Nak()
	default:
		err = m.Nak()
	}
	if err != nil {
		r.Logger.Warn("JetStream is not told of a message: it comes again", "subject", contract.Clip(m.Subject(), 256), "err", err)
	}
}
