package rabbitmq

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	amqp "github.com/rabbitmq/amqp091-go"

	"arrakis/pipeline/deadletter"
	"arrakis/pipeline/replies"
)

// Drain moves the messages of a queue to their stream, until the queue has been empty for Idle, Limit is reached, or ctx
// ends. Then it waits for JetStream's answers to what it has published, at most 10 seconds, and acknowledges that. It
// returns nil in all three cases: Counts say what is left. Other errors are of the options, of a RabbitMQ that cannot be
// reached at first or refuses, of a message that the client library cannot read, of a stream that does not exist, or of a
// connection to NATS that is closed for good; Counts hold what was done before. The package comment says what is promised.
func Drain(ctx context.Context, o Options) (Counts, error) {
	counts := Counts{Left: -1}
	o = o.withDefaults()
	if err := o.validate(); err != nil {
		return counts, err
	}
	if o.NATS == nil {
		return counts, errors.New("field NATS is required")
	}
	js, err := jetstream.New(o.NATS)
	if err != nil {
		return counts, err
	}
	if _, err := js.Stream(ctx, o.To.stream()); err != nil {
		return counts, fmt.Errorf("stream %s: %w", o.To.stream(), err)
	}
	// Answers to what was published on a session that is lost may still be awaited while another has begun.
	mux, err := replies.New(o.NATS, replies.Bounds{InFlight: 2 * o.Prefetch})
	if err != nil {
		return counts, err
	}
	muxCtx, stop := context.WithCancel(context.WithoutCancel(ctx))
	ended := make(chan struct{})
	go func() { defer close(ended); mux.Run(muxCtx) }()
	defer func() { stop(); <-ended }()

	d := &drain{
		Options: o, mapping: mapping{queue: o.Queue, to: o.To}, mux: mux, letters: deadletter.New(js), counts: counts,
	}
	work := sessions{server: o.Server, open: d.open, use: d.use, reconnects: &d.counts.Reconnects, log: o.Logger}
	err = work.run(ctx)
	return d.counts, err
}

// drain is the work of Drain. All of it is done by one goroutine; only the answers of JetStream come from another, by way of
// a channel that has room for all of them.
type drain struct {
	Options
	mapping
	mux     *replies.Mux
	letters *deadletter.Store
	counts  Counts
	trouble trouble
	begun   bool // a session was opened
	// unreadable is how many sessions in a row a message has ended that cannot be read, with nothing taken before it but in
	// the first of them.
	unreadable int
}

// open opens a session that is ready to consume.
func (d *drain) open(ctx context.Context) (*session, error) {
	s, err := openSession(ctx, d.Server)
	if err != nil {
		return nil, err
	}
	prefetch := d.Prefetch
	if d.Limit > 0 {
		prefetch = min(prefetch, d.Limit)
	}
	if d.careful() {
		prefetch = 1
	}
	if err := s.ch.Qos(prefetch, 0, false); err != nil {
		s.close()
		return nil, err
	}
	q, err := d.look(s.ch)
	if err != nil {
		s.close()
		return nil, err
	}
	if !d.begun { // later, RabbitMQ may still count a consumer whose connection was lost
		d.begun, d.counts.Others = true, q.Consumers
		if q.Consumers > 0 {
			d.Logger.WarnContext(ctx, "the queue has other consumers: what they take does not come here", "consumers", q.Consumers)
		}
	}
	return s, nil
}

// look asks RabbitMQ how many messages wait in the queue.
func (d *drain) look(ch *amqp.Channel) (amqp.Queue, error) {
	q, err := ch.QueueDeclarePassive(d.Queue, true, false, false, false, nil) // only the name counts
	if err == nil {
		d.counts.Left = q.Messages
	}
	return q, err
}

// consumerTag is the name of the consumer, which RabbitMQ shows.
const consumerTag = "arrakis"

// use consumes on a session until the work is done, which is nil, or the session is lost.
func (d *drain) use(ctx context.Context, s *session, worked func()) error {
	defer s.close()
	deliveries, err := s.ch.Consume(d.Queue, consumerTag, false, false, false, false, nil)
	if err != nil {
		return err
	}
	f := newFlight(d, s, worked)
	defer f.stop()
	finished, err := f.run(ctx, deliveries)
	d.counts.Left = -1 // until RabbitMQ has taken back what was not acknowledged, and has read all acknowledgements
	if err != nil {
		return d.ended(f, s.reason(err))
	}
	if err := s.ch.Close(); err != nil {
		return err
	}
	ch, err := s.conn.Channel()
	if err != nil {
		return err
	}
	if finished {
		// RabbitMQ does not count what it was about to deliver, and a quorum queue may have lost acknowledgements that came just
		// before the channel was closed. So the end is that there is nothing to get.
		if _, ok, err := ch.Get(d.Queue, false); err != nil || ok {
			return cmp.Or(err, errMore)
		}
	}
	_, err = d.look(ch)
	return err
}

// trouble is that messages are not stored. It logs when that begins and when it ends.
type trouble struct {
	since  time.Time // zero while all is well
	pauses pauses
}

func (d *drain) storeFails(err error) {
	if d.trouble.since.IsZero() {
		d.trouble.since = time.Now()
		d.Logger.Warn("messages are not stored: they wait in RabbitMQ and are tried again", "stream", d.To.stream(), "err", err)
	}
}

func (d *drain) storeWorks() {
	if !d.trouble.since.IsZero() {
		d.Logger.Info("messages are stored again", "stream", d.To.stream(), "after", time.Since(d.trouble.since).Round(time.Second))
		d.trouble = trouble{}
	}
}
