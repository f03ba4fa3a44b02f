package pipeline

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"

	"arrakis/pipeline/wire"
)

const (
	// finishedQueue is how many messages wait for the metrics stage; when it
	// is full the stages before it wait.
	finishedQueue = 8_192
	// deadLetterWriters is how many dead letters are being stored at once;
	// when all are busy the metrics stage waits.
	deadLetterWriters = 64
)

// finish is the last stage, where every message ends: it is counted, its
// sender is told, and JetStream is told. It returns when its queue is closed
// and empty.
func (p *Pipeline) finish(work context.Context) error {
	var writers errgroup.Group
	writers.SetLimit(deadLetterWriters)
	var batch []*delivery
	for {
		var ok bool
		if batch, ok = p.finished.Take(batch); !ok {
			return writers.Wait()
		}
		began := time.Now()
		p.metrics.record(batch)
		for _, d := range batch {
			if d.disposition == deadLetter {
				writers.Go(func() error { p.bury(work, d); return nil })
				continue
			}
			if d.disposition == acknowledge {
				p.reply(work, d)
			}
			p.settle(work, d)
		}
		p.metrics.finish.Observe(time.Since(began).Seconds())
	}
}

// reply tells the sender the outcome, if it waits for one.
func (p *Pipeline) reply(work context.Context, d *delivery) {
	to := d.replyTo()
	if to == "" {
		return
	}
	data, err := json.Marshal(d.outcome())
	if err == nil {
		err = p.o.NATS.Publish(to, data)
	}
	if errors.Is(err, nats.ErrMaxPayload) {
		o := d.outcome()
		o.Result, o.Status = nil, wire.StatusError
		o.Error = &wire.Error{Code: 500, Message: "the result is larger than NATS carries"}
		if data, err = json.Marshal(o); err == nil {
			err = p.o.NATS.Publish(to, data)
		}
	}
	if err != nil {
		p.log.WarnContext(work, "the outcome could not be sent", "event_id", d.EventID, "err", err)
	}
}

// settle tells JetStream how the message ended. When that fails the message is
// delivered again after its ack wait, and its permit is not charged twice.
func (p *Pipeline) settle(work context.Context, d *delivery) {
	var err error
	switch {
	case d.disposition == acknowledge:
		err = d.msg.Ack()
	case d.delay > 0:
		p.metrics.retries.Inc()
		err = d.msg.NakWithDelay(d.delay)
	default:
		err = d.msg.Nak()
	}
	if err != nil {
		p.log.WarnContext(work, "not acknowledged: it will be delivered again", "stream", d.source.stream, "stream_seq", d.sequence, "err", err)
	}
}

// bury stores a dead letter, then tells the sender and terminates the message:
// in that order, so that the message is in one of the two streams at all times.
func (p *Pipeline) bury(work context.Context, d *delivery) {
	log := p.log.With("stream", d.source.stream, "stream_seq", d.sequence, "reason", d.reason)
	if err := p.store(context.WithoutCancel(work), d); err != nil {
		log.ErrorContext(work, "a dead letter could not be stored: its message will be delivered again", "err", err)
		d.conclusion = conclusion{disposition: retry, delay: backoff(d.Attempt)}
		p.settle(work, d)
		return
	}
	p.metrics.deadLetter(d)
	log.LogAttrs(work, slog.LevelDebug, "dead letter", slog.String("event_id", d.EventID),
		slog.String("community_id", d.Community), slog.Int("attempt", d.Attempt), slog.String("cause", clip(d.cause)))
	p.reply(work, d)
	if err := d.msg.TermWithReason(string(d.reason)); err != nil {
		log.WarnContext(work, "not terminated: it will be delivered and dead-lettered again", "err", err)
	}
}

// store publishes the dead letter and waits until it is stored. Its message ID
// is the original's place, so that one that is buried twice is stored once.
func (p *Pipeline) store(ctx context.Context, d *delivery) error {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	_, err := p.js.PublishMsg(ctx, d.deadLetter(), jetstream.WithMsgID(d.deadLetterID()))
	return err
}
