package pipeline

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"maps"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"

	"arrakis/pipeline/contract"
	"arrakis/pipeline/deadletter"
	"arrakis/pipeline/retry"
	"arrakis/shard"
)

const (
	// deadLetterWriters is how many dead letters are stored at the same time.
	deadLetterWriters = 64
	// deadLetterQueue is how many dead letters wait for a writer. While the queue is full, further messages are
	// delivered again later, so that a flood of malformed messages does not hold up other messages.
	deadLetterQueue = 1_024
	// notEndedInterval is the least time between two warnings that a replay was not ended for want of a writer.
	notEndedInterval = time.Minute
)

// metricsStage is the last stage, where messages end. It counts each message, sends the outcome to the sender, and
// settles the message: it tells JetStream ack, nak or term.
type metricsStage struct {
	nc      *nats.Conn
	store   *deadletter.Store
	missing func() // says that DEADLETTER may not exist; does not block
	metrics *metrics
	log     *slog.Logger

	attempts     *attemptCounter
	permits      *permitReturner
	retries      *retry.Writer
	delays       *delayer
	parkTime     time.Duration // for which a message waits whose dead letter could not be stored
	intake       *intake
	interactions *interactions // nil without Discord

	admitted *fairQueue // counts messages as running that wait to be stored somewhere else

	ended       *shard.Mailbox[*delivery] // in
	deadLetters chan *delivery            // what asks DEADLETTER before it ends; run sends and closes, the writers receive
	moved       *shard.Mailbox[*delivery] // replayed messages that are in their lanes; run fills and closes it, for endMoved
	unstored    atomic.Bool               // dead letters cannot be stored now, which has been logged
	probing     atomic.Bool               // while unstored, one writer at a time tries; the others park their messages

	warned time.Time // when run last logged that a replay was not ended for want of a writer
}

// run returns when the queue is closed and empty, no dead letter waits for a writer, and no retry to be stored.
func (s *metricsStage) run(work context.Context) error {
	var writers errgroup.Group
	for range deadLetterWriters {
		writers.Go(func() error {
			for d := range s.deadLetters {
				switch d.settlement {
				case term:
					s.deadLetter(work, d)
				case ack:
					s.endReplay(work, d)
					s.answer(work, d)
				default:
					s.endReplay(work, d)
					s.storeRetry(work, d)
				}
			}
			return nil
		})
	}
	var retries, permits, moved, answers errgroup.Group
	if s.interactions != nil {
		answers.Go(func() error { return s.interactions.run(work) })
	}
	moved.Go(func() error { s.endMoved(work); return nil })
	retries.Go(func() error { s.retries.Run(work); return nil })
	permits.Go(func() error { s.permits.run(context.WithoutCancel(work)); return nil })
	defer func() {
		close(s.deadLetters)
		_ = writers.Wait() // returns nil only
		s.moved.Close()
		_ = moved.Wait() // returns nil only
		s.retries.Close()
		_ = retries.Wait() // returns nil only
		// After RETRY, which may refuse an interaction, and that is answered.
		if s.interactions != nil {
			s.interactions.close()
			_ = answers.Wait() // returns nil only
		}
		s.permits.close()
		_ = permits.Wait() // returns nil only
	}()
	var batch []*delivery
	for {
		var ok bool
		if batch, ok = s.ended.Take(batch); !ok {
			return nil
		}
		began := time.Now()
		s.metrics.record(batch)
		for _, d := range batch {
			s.end(work, d)
		}
		s.metrics.settle.Observe(time.Since(began).Seconds())
	}
}

// end carries out the disposition of d.
func (s *metricsStage) end(work context.Context, d *delivery) {
	switch d.settlement {
	case term:
		s.write(work, d)
	case ack:
		s.permits.put(d)
		s.endAck(work, d)
	case nak:
		s.again(work, d)
	case carriedOn:
		if d.replayToEnd() != "" {
			_, _ = s.moved.Offer(d) // there is always room, and it is closed after the last one
			return
		}
		s.settle(work, d)
	case untold:
		s.metrics.forgotten.Inc()
		s.settle(work, d)
	case undecided:
		panic("pipeline: a message has come to its end without a disposition")
	}
}

// endAck ends a message that is done. The writers end a replayed one. It is done all the same if they have no room: it
// must not be handled again.
func (s *metricsStage) endAck(work context.Context, d *delivery) {
	if d.replayToEnd() == "" {
		s.answer(work, d)
		return
	}
	select {
	case s.deadLetters <- d:
	default:
		s.warnNotEnded(work, d)
		s.answer(work, d)
	}
}

// warnNotEnded logs that the replay of d was not ended because the writers had no room. It logs one of many: when that
// begins, nobody knows how many they will be.
func (s *metricsStage) warnNotEnded(work context.Context, d *delivery) {
	if now := time.Now(); now.Sub(s.warned) >= notEndedInterval {
		s.warned = now
		s.log.WarnContext(work, replayNotEnded, "event_id", d.EventID, "replay", d.replayToEnd(), "trace_id", d.traceID(),
			"err", "too many dead letters wait to be stored; others like it are not logged for a minute")
	}
}

// write hands a dead letter to a writer.
func (s *metricsStage) write(work context.Context, d *delivery) {
	select {
	case s.deadLetters <- d:
	default:
		s.park(work, d)
	}
}

// answer sends the outcome and settles d. The answer to an interaction is on its way for a while; if it gets nowhere
// because of a shutdown, another process answers.
func (s *metricsStage) answer(work context.Context, d *delivery) {
	if d.discord {
		s.forgetRetry(d) // at a shutdown RETRY ends first; d itself is unacknowledged until its answer has got somewhere
		s.interactions.put(d, func(err error) {
			if err != nil && d.settlement == ack {
				d.disposition = aborted()
			}
			s.settle(work, d)
		})
		return
	}
	s.reply(work, d)
	s.settle(work, d)
	s.forgetRetry(d)
}

// reply publishes the outcome, if the sender waits for one.
func (s *metricsStage) reply(work context.Context, d *delivery) {
	to := d.replyTo()
	if to == "" {
		return
	}
	data, err := json.Marshal(d.outcome())
	if err == nil {
		err = s.nc.Publish(to, data)
	}
	if errors.Is(err, nats.ErrMaxPayload) {
		o := d.outcome()
		o.Result, o.Status = nil, contract.StatusError
		o.Error = &contract.Error{Code: 500, Message: "the result is larger than NATS carries"}
		if data, err = json.Marshal(o); err == nil {
			err = s.nc.Publish(to, data)
		}
	}
	if err != nil {
		s.log.WarnContext(work, "the outcome could not be sent", "event_id", d.EventID, "trace_id", d.traceID(), "err", err)
	}
}

// settle tells JetStream how the message ended. If that fails, the message is delivered again after its ack wait; its
// permit is not charged twice.
func (s *metricsStage) settle(work context.Context, d *delivery) {
	s.intake.leave(d.source, load{1, int64(d.size)})
	if d.unsettled {
		s.admitted.settled(d, time.Since(d.received.Add(d.began)))
	}
	var err error
	switch {
	case d.settlement == ack || d.settlement == carriedOn:
		err = d.msg.Ack()
	case d.settlement == untold:
	case d.settlement == term:
		err = d.msg.TermWithReason(string(d.reason))
	case d.delay > 0:
		s.metrics.retriesNak.Inc()
		err = d.msg.NakWithDelay(d.delay)
	default:
		err = d.msg.Nak()
	}
	// A message of an aborted batch may be settled twice. That is logged only for a term, because the message then
	// becomes a dead letter again.
	if err != nil && (d.settlement == term || !errors.Is(err, jetstream.ErrMsgAlreadyAckd)) {
		s.log.WarnContext(work, "message not settled: JetStream will deliver it again",
			"stream", d.source.stream, "stream_seq", d.sequence, "trace_id", d.traceID(), "err", err)
	}
	if d.trace != nil {
		d.endTrace(time.Now())
	}
}

// deadLetter stores a dead letter, then sends the outcome, then terminates the message. In this order the message is in
// one of the two streams at all times. After an abort there is no time for that, and the message is given back.
func (s *metricsStage) deadLetter(work context.Context, d *delivery) {
	if work.Err() != nil {
		d.disposition = aborted()
		s.settle(work, d)
		return
	}
	probes := s.unstored.Load()
	if probes && !s.probing.CompareAndSwap(false, true) {
		s.park(work, d)
		return
	}
	letter := d.record()
	err := s.store.Write(context.WithoutCancel(work), letter)
	if probes {
		s.probing.Store(false)
	}
	if err != nil {
		if s.unstored.CompareAndSwap(false, true) {
			s.log.ErrorContext(work, "dead letters cannot be stored: they wait in RETRY", "err", err)
		}
		if errors.Is(err, jetstream.ErrNoStreamResponse) {
			s.missing()
		}
		s.park(work, d)
		return
	}
	if s.unstored.CompareAndSwap(true, false) {
		s.log.InfoContext(work, "dead letters can be stored again")
	}
	s.metrics.deadLetter(d, letter.Of())
	s.log.LogAttrs(work, slog.LevelDebug, "dead letter",
		slog.String("stream", d.origin.stream), slog.Uint64("stream_seq", d.origin.sequence), slog.String("reason", string(d.reason)),
		slog.String("event_id", d.EventID), slog.String("community_id", d.community()), slog.Int("attempt", d.Attempt),
		slog.Any("trace_id", d.traceID()), slog.String("cause", contract.Clip(d.cause, deadletter.MaxCause)))
	s.endReplay(work, d)
	s.answer(work, d)
	s.attempts.forget(context.WithoutCancel(work), d)
}

// unread stores a message as a dead letter that no worker gets. It is called by package streams, not by a stage.
func (s *metricsStage) unread(ctx context.Context, stream string, m *jetstream.RawStreamMsg, cause string) error {
	err := s.store.Write(ctx, &deadletter.Record{
		Stream: stream, Sequence: m.Sequence, Stored: m.Time, Subject: m.Subject, Headers: m.Header, Body: m.Data,
		Reason: contract.ReasonMalformed, Cause: cause,
	})
	if err == nil {
		s.metrics.deadLetterOf(stream, contract.ReasonMalformed)
	}
	return err
}

// lasting are the headers of d that its dead letter has: its own, and the name of its permit, for a replay.
func (d *delivery) lasting() nats.Header {
	if d.admission.Reservation == "" {
		return d.headers
	}
	h := maps.Clone(d.headers)
	if h == nil {
		h = nats.Header{}
	}
	h[contract.HeaderDelayed] = []string{d.admission.Reservation}
	return h
}

// record is the record of a message that becomes a dead letter.
func (d *delivery) record() *deadletter.Record {
	return &deadletter.Record{
		Stream: d.origin.stream, Sequence: d.origin.sequence, Stored: d.origin.stored(), Subject: d.Subject,
		Headers: d.lasting(), Body: d.Body, Attempts: d.Attempt, Reason: d.reason, Cause: d.cause,
	}
}
