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

	"arrakis/pipeline/contract"
)

const (
	// finishedQueue is how many messages wait for the metrics stage; when it
	// is full the stages before it wait.
	finishedQueue = 8_192
	// letterWriters is how many dead letters are being stored at once.
	letterWriters = 64
	// letterQueue is how many wait for that. When it is full a message goes
	// back to JetStream for a while, so that a flood of malformed ones holds
	// up nobody else.
	letterQueue = 1_024
)

// finish is the last stage, where every message ends: it is counted, its
// sender is told, and JetStream is told. It returns when its queue is closed
// and empty and the last dead letter is stored.
func (p *Pipeline) finish(work context.Context) error {
	var writers errgroup.Group
	for range letterWriters {
		writers.Go(func() error {
			for d := range p.letters {
				p.bury(work, d)
			}
			return nil
		})
	}
	defer func() {
		close(p.letters)
		_ = writers.Wait() // returns nil only
	}()
	var batch []*delivery
	for {
		var ok bool
		if batch, ok = p.finished.Take(batch); !ok {
			return nil
		}
		began := time.Now()
		p.metrics.record(batch)
		for _, d := range batch {
			p.end(work, d)
		}
		p.metrics.finish.Observe(time.Since(began).Seconds())
	}
}

// end tells the sender and JetStream how d ended, or has it buried.
func (p *Pipeline) end(work context.Context, d *delivery) {
	switch d.disposition {
	case deadLetter:
		select {
		case p.letters <- d:
		default:
			p.giveBack(work, d)
		}
	case acknowledge:
		p.reply(work, d)
		p.settle(work, d)
	case retry:
		p.settle(work, d)
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
		o.Result, o.Status = nil, contract.StatusError
		o.Error = &contract.Error{Code: 500, Message: "the result is larger than NATS carries"}
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
	if err != nil && !errors.Is(err, jetstream.ErrMsgAlreadyAckd) { // an aborted batch is settled twice
		p.log.WarnContext(work, "not acknowledged: it will be delivered again", "stream", d.source.route.Stream, "stream_seq", d.sequence, "err", err)
	}
}

// bury stores a dead letter, then tells the sender and terminates the message:
// in that order, so that the message is in one of the two streams at all times.
func (p *Pipeline) bury(work context.Context, d *delivery) {
	if err := p.store(context.WithoutCancel(work), d); err != nil {
		if p.unstored.CompareAndSwap(false, true) {
			p.log.ErrorContext(work, "dead letters cannot be stored: their messages are delivered again", "err", err)
		}
		if errors.Is(err, jetstream.ErrNoStreamResponse) {
			_ = p.ensure(work) // the error that counts is logged above
		}
		p.giveBack(work, d)
		return
	}
	if p.unstored.CompareAndSwap(true, false) {
		p.log.InfoContext(work, "dead letters can be stored again")
	}
	p.metrics.buried(d)
	p.log.LogAttrs(work, slog.LevelDebug, "dead letter",
		slog.String("stream", d.source.route.Stream), slog.Uint64("stream_seq", d.sequence), slog.String("reason", string(d.reason)),
		slog.String("event_id", d.EventID), slog.String("community_id", d.community()), slog.Int("attempt", d.Attempt),
		slog.String("cause", clip(d.cause)))
	p.reply(work, d)
	if err := d.msg.TermWithReason(string(d.reason)); err != nil {
		p.log.WarnContext(work, "not terminated: it will be delivered and dead-lettered again",
			"stream", d.source.route.Stream, "stream_seq", d.sequence, "err", err)
	}
}

// giveBack returns a message to JetStream that ought to be buried and cannot
// be now.
func (p *Pipeline) giveBack(work context.Context, d *delivery) {
	d.conclusion = conclusion{disposition: retry, delay: backoff(d.Attempt)}
	p.settle(work, d)
}

// store publishes the dead letter and waits until it is stored. Its message ID
// is the original's place, so that one that is buried twice is stored once.
func (p *Pipeline) store(ctx context.Context, d *delivery) error {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	id := jetstream.WithMsgID(d.deadLetterID())
	_, err := p.js.PublishMsg(ctx, d.deadLetter(), id)
	if errors.Is(err, nats.ErrMaxPayload) {
		_, err = p.js.PublishMsg(ctx, d.cutDeadLetter(p.o.NATS.MaxPayload()), id)
	}
	return err
}
