package pipeline

import (
	"context"
	"errors"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"arrakis/pipeline/contract"
	"arrakis/shard"
)

// decode is the first stage: it makes deliveries of messages and sorts them by
// shard; what cannot be decoded goes to its end at once. It returns when the
// source has ended and nothing is left of it.
func (p *Pipeline) decode(work context.Context, src *source) error {
	sorter := p.shards.Sorter()
	var batch []jetstream.Msg
	for {
		var ok bool
		if batch, ok = src.next(batch); !ok {
			return nil
		}
		if err := p.decodeBatch(work, src, batch, sorter); err != nil {
			src.giveBack(batch)
			return err
		}
	}
}

// decodeBatch decodes what has gathered, so that a shard is woken once for all
// of it.
func (p *Pipeline) decodeBatch(work context.Context, src *source, batch []jetstream.Msg, sorter *shard.Sorter[*delivery]) error {
	began := time.Now()
	for _, msg := range batch {
		if err := p.receive(work, src, msg, began, sorter); err != nil {
			return err
		}
	}
	p.metrics.decode.Observe(time.Since(began).Seconds())
	return sorter.Flush(work)
}

// receive decodes one message that came at now.
func (p *Pipeline) receive(work context.Context, src *source, msg jetstream.Msg, now time.Time, sorter *shard.Sorter[*delivery]) error {
	at, err := placeOf(msg)
	if err != nil {
		// A message without JetStream's reply subject cannot be acknowledged either.
		p.log.ErrorContext(work, "not a JetStream message", "stream", src.route.Stream, "subject", msg.Subject(), "err", err)
		return nil
	}
	src.backlog = at.pending
	d := &delivery{source: src, msg: msg, headers: msg.Headers(), sequence: at.sequence, stored: at.stored, received: now, kept: now}
	d.Kind, d.Subject, d.Body = src.route.Kind, msg.Subject(), msg.Data()
	d.Attempt = int(min(at.delivered, 1<<30))
	if d.Envelope, err = contract.Decode(src.route.Kind, d.Body); err != nil {
		var de *contract.DecodeError
		errors.As(err, &de) // Decode returns no other error
		d.conclusion = concludeMalformed(de)
		return p.finished.Put(work, d)
	}
	if src.route.Kind == contract.KindCommand && p.o.CommandTTL > 0 && src.age(d.stored, now) > p.o.CommandTTL {
		d.conclusion = concludeExpired()
	}
	d.admission = shard.Admission{
		TenantKey: d.TenantKey,
		User:      d.UserID,
		Action:    src.route.Action,
		Limited:   src.route.Limited && d.status != contract.StatusExpired,
		ID:        d.EventID,
		Replay:    d.Attempt > 1 || d.header(contract.HeaderReplay) != "",
	}
	sorter.Add(d)
	return nil
}
