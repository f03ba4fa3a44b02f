package pipeline

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"sync/atomic"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"arrakis/limiter"
	"arrakis/pipeline/contract"
	"arrakis/pipeline/retry"
	"arrakis/shard"
)

const (
	// delayQueue is how many messages wait to be delayed. While the queue is full, further messages are rejected, so that
	// no shard waits for Redis.
	delayQueue = 8_192
	// delayBatch is how many messages ask for a reservation in one round trip.
	delayBatch = 1_000
	// longestWaitForPermit is how long a message without a time to live may wait for its permit. Checks and syncs are kept that
	// long in their stream too.
	longestWaitForPermit = 7 * 24 * time.Hour
	// delayMargin is how much earlier than its end, the time to live of a command or the wait of its sender, a permit must
	// be free: a schedule has whole seconds, and the handler needs time too.
	delayMargin = 2 * time.Second
	// unsureDeliveries is at which delivery a message is rejected whose storing in RETRY was not answered.
	unsureDeliveries = 4
	// refusalTime is how long a refused reservation is remembered, so that a flood above the limit costs Redis nothing.
	refusalTime = time.Second
	// maxRefusals is how many communities and actions these are, at most.
	maxRefusals = 4_096
)

// delayer delays messages that are over their community's limit, where the tenant wants that. For each it reserves the
// next free permit in Redis. Then the metrics stage stores the message in RETRY until its permit is free, when it comes
// back to the shard like any other message, and finds the permit. A message of a tenant in shadow mode reserves a permit
// too, but does not wait.
type delayer struct {
	shards      *shard.Pool[*delivery]
	commandTTL  time.Duration               // 0: commands never expire
	refusalTime time.Duration               // how long a refused reservation is remembered
	ended       *shard.Mailbox[*delivery]   // out
	waiting     *shard.Mailbox[*delivery]   // in
	refusals    *lru.Cache[string, refusal] // by community and action
	closedTo    atomic.Int64                // until when RETRY takes nothing, in Unix ns
}

// refusal is what is known of the reservations of a community and action when one was refused.
type refusal struct {
	until time.Time // when it is forgotten
	next  time.Time // when the permit of the next reservation would be free
	full  bool      // there is none left
}

func newDelayer(shards *shard.Pool[*delivery], commandTTL time.Duration, ended *shard.Mailbox[*delivery]) *delayer {
	refusals, _ := lru.New[string, refusal](maxRefusals) // an error only for a size below 1
	return &delayer{
		shards: shards, commandTTL: commandTTL, refusalTime: refusalTime, ended: ended,
		waiting: shard.NewMailbox[*delivery](delayQueue), refusals: refusals,
	}
}

// take takes a rejected message, if it may be delayed. It does not block. If it returns false, d stays rejected.
func (s *delayer) take(d *delivery) bool {
	a := &d.admission
	if d.Tenant.MaxDelayed[a.Action] == 0 || !a.OverLimit() && !d.mustWait() {
		return false
	}
	now := time.Now()
	longest := s.longest(d, now)
	if a.Verdict.RetryAfter > longest || now.UnixNano() < s.closedTo.Load() || s.refused(d, longest, now) {
		return false
	}
	n, _ := s.waiting.Offer(d)
	return n == 1
}

// refused reports whether a reservation for d, which can wait so long, is known to be refused. Redis is always asked for a
// message that may have a reservation.
func (s *delayer) refused(d *delivery, longest time.Duration, now time.Time) bool {
	if d.admission.MayHold() {
		return false
	}
	r, ok := s.refusals.Get(refusalKey(d))
	return ok && now.Before(r.until) && (r.full || now.Add(longest).Before(r.next))
}

// delayedBefore reports whether d comes from RETRY, where it waited for its permit.
func (d *delivery) delayedBefore() bool {
	return d.source.route == nil && d.admission.Reservation != ""
}

// mustWait reports whether d was delayed before, and its permit cannot be found because Redis is away.
func (d *delivery) mustWait() bool {
	v := &d.admission.Verdict
	return d.delayedBefore() && v.Degraded && !v.Unavailable && d.admission.LimitedBy == d.admission.Action
}

// longest is how long d can wait for its permit.
func (s *delayer) longest(d *delivery, now time.Time) time.Duration {
	age := d.source.age(d.origin.stored(), now)
	longest := longestWaitForPermit
	if s.commandTTL > 0 && d.Kind == contract.KindCommand {
		longest = min(longest, s.commandTTL-delayMargin)
	}
	if wait := d.wait(); wait > 0 {
		longest = min(longest, wait-delayMargin)
	}
	return longest - age
}

// pause stops delaying for a moment, because RETRY takes no message.
func (s *delayer) pause() { s.closedTo.Store(time.Now().Add(refusalTime).UnixNano()) }

// close ends run once nothing waits. No take may follow.
func (s *delayer) close() { s.waiting.Close() }

// run reserves permits until close is called and no message waits. It hands those that pass at once to admit.
func (s *delayer) run(work context.Context, admit func(context.Context, []*delivery) error) error {
	var passed []*delivery
	for all, ok := s.waiting.Take(nil); ok; all, ok = s.waiting.Take(all) {
		for batch := range slices.Chunk(all, delayBatch) {
			s.delay(work, batch)
			passed = passed[:0]
			rest := slices.DeleteFunc(batch, func(d *delivery) bool {
				if !d.decided() {
					passed = append(passed, d)
				}
				return !d.decided()
			})
			if err := s.ended.Put(context.WithoutCancel(work), rest...); err != nil { // also after an abort
				return err
			}
			if err := admit(work, passed); err != nil {
				return err
			}
			clear(passed) // the slice is kept for the next batch, but must not keep messages in memory
		}
	}
	return nil
}

// delay sets the dispositions of a batch, but not of messages that pass.
func (s *delayer) delay(work context.Context, batch []*delivery) {
	now := time.Now()
	var asks []*shard.Reservation
	var asking []*delivery // for each of asks
	for _, d := range batch {
		longest := s.longest(d, now)
		if s.refused(d, longest, now) { // since take
			d.notReserved()
			continue
		}
		asks = append(asks, &shard.Reservation{Admission: &d.admission, Name: d.reservation(), Again: d.delayedBefore(), Longest: longest})
		asking = append(asking, d)
	}
	err := s.shards.Reserve(work, asks)
	now = time.Now()
	var passing []*delivery // at once, with their reservations
	for i, d := range asking {
		switch r := asks[i]; {
		case err != nil: // the shutdown leaves no time; a reservation is found again
			d.disposition = aborted()
		case d.Tenant.Shadow && (r.Answer == limiter.Granted || r.Answer == limiter.Unanswered && d.delayedBefore()):
			passing = append(passing, d)
		case r.Answer == limiter.Granted:
			d.disposition = delayed(now.Add(d.source.clock() + r.Wait))
		case r.Answer == limiter.Unanswered && d.delayedBefore():
			d.disposition = delayed(now.Add(d.source.clock() + max(d.admission.Verdict.RetryAfter, refusalTime)))
		default:
			s.refusals.Add(refusalKey(d), refusal{until: now.Add(s.refusalTime), next: now.Add(r.Wait), full: r.Answer != limiter.Late})
			d.notReserved()
		}
	}
	s.pass(work, passing)
}

// pass lets messages of tenants in shadow mode pass with their reservations.
func (s *delayer) pass(work context.Context, batch []*delivery) {
	if len(batch) == 0 {
		return
	}
	admissions := make([]*shard.Admission, len(batch))
	for i, d := range batch {
		admissions[i] = &d.admission
	}
	if err := s.shards.PassReserved(work, admissions); err != nil {
		for _, d := range batch {
			d.disposition = aborted()
		}
	}
}

// notReserved rejects d, unless its tenant is in shadow mode.
func (d *delivery) notReserved() {
	if !d.admission.LetPass() {
		d.disposition = rejected(false, d.awaited(), 0)
	}
}

// reservation names the permit that is reserved for d.
func (d *delivery) reservation() string {
	return d.origin.stream + ":" + strconv.FormatUint(d.origin.sequence, 10) + ":" + strconv.FormatInt(d.origin.nanos, 10)
}

// refusalKey is the community and action of d.
func refusalKey(d *delivery) string { return shard.Key(d.Community, d.admission.Action) }

// delay stores a message in RETRY that waits for its permit.
func (s *metricsStage) delay(work context.Context, d *delivery) {
	m := d.retry(time.Unix(0, d.at), d.failed)
	m.Done = func(err error) {
		if err != nil {
			s.notDelayed(work, d, err)
			return
		}
		s.metrics.delayed[d.admission.Action].Inc()
		d.moved()
		s.settle(work, d)
	}
	if !s.retries.Put(m) {
		s.notDelayed(work, d, retry.ErrFull)
	}
}

// notDelayed ends a message that was not stored in RETRY. It must not wait among the unacknowledged ones, so it is
// rejected. If it may have been stored all the same, it comes again instead, a few times, and finds its reservation.
func (s *metricsStage) notDelayed(work context.Context, d *delivery, err error) {
	if work.Err() != nil {
		d.disposition = aborted()
		s.settle(work, d)
		return
	}
	if !refusedByRetry(err) && d.delivered < unsureDeliveries {
		d.disposition = postponed()
		s.settle(work, d)
		return
	}
	s.delays.pause()
	d.disposition = rejected(false, d.awaited(), 0)
	s.permits.put(d)
	s.metrics.record([]*delivery{d})
	s.answer(work, d)
}

// refusedByRetry reports whether a message was certainly not stored.
func refusedByRetry(err error) bool {
	if _, ok := errors.AsType[*jetstream.APIError](err); ok {
		return true
	}
	for _, refusal := range []error{retry.ErrFull, retry.ErrNoRetry, retry.ErrHeaders, nats.ErrMaxPayload, jetstream.ErrNoStreamResponse} {
		if errors.Is(err, refusal) {
			return true
		}
	}
	return false
}
