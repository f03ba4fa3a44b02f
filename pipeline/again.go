package pipeline

import (
	"context"
	"math/rand/v2"
	"strconv"
	"time"

	"arrakis/pipeline/contract"
	"arrakis/pipeline/deadletter"
	"arrakis/pipeline/retry"
)

// parkTime is how long a message waits whose dead letter could not be stored.
const parkTime = 30 * time.Second

// busyTime is how long a message waits that has found the writers of dead letters busy.
const busyTime = 4 * time.Second

// again lets d be tried again. It waits in RETRY, where it takes no place among the unacknowledged messages, and d is
// acknowledged once it is stored there. Where that cannot be, it is delivered again after a delayed nak. So is one with a
// delay below a second, because JetStream's schedules have whole seconds.
func (s *metricsStage) again(work context.Context, d *delivery) {
	if d.later {
		d.at = time.Now().Add(d.source.clock() + d.delay).UnixNano()
	}
	switch {
	case d.at == 0:
		s.settle(work, d)
	case d.replayToEnd() == "":
		s.storeRetry(work, d)
	default: // while it is in its stream, its dead letter is deleted, so that it cannot be replayed twice
		select {
		case s.deadLetters <- d:
		default:
			s.settle(work, d)
		}
	}
}

// storeRetry stores d in RETRY.
func (s *metricsStage) storeRetry(work context.Context, d *delivery) {
	if d.delayed {
		s.delay(work, d)
		return
	}
	m := d.retry(time.Unix(0, d.at), d.attemptsFailed())
	m.Half = d.half
	m.Done = func(err error) {
		if err != nil {
			s.notStored(work, d)
			return
		}
		s.metrics.retriesStored.Inc()
		d.moved()
		s.settle(work, d)
	}
	if !s.retries.Put(m) {
		s.notStored(work, d)
	}
}

// notStored gives d back, because RETRY cannot take it.
func (s *metricsStage) notStored(work context.Context, d *delivery) {
	switch {
	case work.Err() != nil:
		d.disposition = aborted()
	case d.half:
		d.delay = min(d.delay, maxHeldDelay)
	}
	s.settle(work, d)
}

// park keeps a message whose dead letter cannot be stored now. It waits in RETRY, with the reason: when it comes again, no
// handler runs. Where RETRY cannot take it, it waits in OVERFLOW, for a consumer that has nothing else. Its sender is told
// now.
func (s *metricsStage) park(work context.Context, d *delivery) {
	if d.source.age(d.origin.stored(), time.Now()) <= d.wait() {
		if d.discord {
			s.interactions.put(d, func(error) {})
		} else {
			s.reply(work, d)
		}
	}
	m := d.retry(time.Now().Add(d.source.clock()+s.parkFor()), d.Attempt)
	m.Header[contract.HeaderReason] = []string{string(d.reason)}
	m.Header[contract.HeaderError] = []string{contract.Clip(d.cause, deadletter.MaxCause)}
	delete(m.Header, contract.HeaderReplyTo)
	if d.source.consumer != contract.ConsumerParked { // else it is held there, where it holds up no messages of routes
		m.Else = contract.ParkedSubject(m.Stream, m.Sequence, m.Stored)
	}
	m.Done = func(err error) {
		if err != nil {
			s.hold(work, d, s.parkFor())
			return
		}
		s.metrics.parked.Inc()
		s.metrics.givenUp(d)
		d.moved()
		s.settle(work, d)
	}
	if !s.retries.Put(m) { // it has much to store, which takes it a second
		s.hold(work, d, min(s.parkFor(), busyTime))
	}
}

// parkFor is how long a message waits until its dead letter is tried again: not for long if only the writers were busy.
// Jitter spreads them, so that they do not all find the writers busy again.
func (s *metricsStage) parkFor() time.Duration {
	d := s.parkTime
	if !s.unstored.Load() {
		d = min(d, busyTime)
	}
	return d - rand.N(d/3+1) //nolint:gosec // jitter
}

// hold gives back a message whose dead letter cannot be stored, nor parked. It keeps its place among the unacknowledged
// messages until it comes again, after delay. Redis knows the decision, if a handler ran.
func (s *metricsStage) hold(work context.Context, d *delivery, delay time.Duration) {
	d.disposition = disposition{settlement: nak, delay: delay}
	s.notStored(work, d)
}

// forgetRetry deletes what RETRY may still hold of d: a worker may have died after it had stored d there, and before it
// acknowledged it.
func (s *metricsStage) forgetRetry(d *delivery) {
	if d.delivered > 1 && d.settlement != nak {
		s.retries.Forget(d.retryID())
	}
}

func (d *delivery) retryID() retry.ID {
	return retry.ID{Stream: d.origin.stream, Sequence: d.origin.sequence, Stored: d.origin.stored()}
}

// retry is d as RETRY keeps it until at, a time by JetStream's clock. failed is how many attempts of d have failed.
func (d *delivery) retry(at time.Time, failed int) retry.Message {
	h := d.carry(failed, time.Now())
	// So that Redis is asked for attempts. Another copy may be under way, if an answer of JetStream was lost.
	h[contract.HeaderDelivered] = []string{strconv.FormatUint(d.before+d.delivered, 10)}
	return retry.Message{ID: d.retryID(), Subject: d.Subject, At: at, Header: h, Body: d.Body}
}

// attemptsFailed is how many attempts of d have failed, this one included if there was one.
func (d *delivery) attemptsFailed() int {
	n := d.Attempt - 1
	if d.maxAttempts == endless { // Redis is away, and Attempt counts deliveries that may have been no attempts
		n = d.failed
	}
	if d.errorType.attempted() {
		n++
	}
	return n
}
