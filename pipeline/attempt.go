package pipeline

import (
	"context"
	"log/slog"
	"math"
	"strconv"
	"time"

	"arrakis/pipeline/attempts"
)

// abortedTime is the time for writing down how an attempt ended after an abort: a Redis that hangs must not hold up the
// shutdown.
const abortedTime = 500 * time.Millisecond

// attemptCounter counts the attempts of messages, so that each has MaxAttempts and no more. A message that is delivered
// for the first time costs nothing unless its handler fails.
//
// A message whose worker died before is a suspect: it may have killed the worker. In a process only one suspect runs at
// a time. When it kills the process, no other suspect counts a death, and so none runs out of attempts without fault.
type attemptCounter struct {
	store   *attempts.Store
	max     int
	suspect suspectPlace
	log     *slog.Logger
}

// timeout is the time for one handler.
func newAttemptCounter(store *attempts.Store, limit int, timeout time.Duration, log *slog.Logger) *attemptCounter {
	return &attemptCounter{store: store, max: limit, suspect: suspectPlace{lasts: 2 * timeout}, log: log}
}

// endless is the number of attempts of a message of which no attempt is the last.
const endless = math.MaxInt32

// begin sets the number of the attempt that is about to begin. It returns false if the handler must not run now; then d
// has its disposition. If begin returns true, the caller calls end once d has its disposition.
func (c *attemptCounter) begin(ctx context.Context, d *delivery) bool {
	d.maxAttempts = int32(min(c.max, endless)) //nolint:gosec // it is 1 or more
	if !d.comesAgain() {
		return true
	}
	ask := attempts.Attempt{Delivery: d.deliveryName(), Limit: c.max, Known: d.failed}
	earlier, begins, err := c.store.Begin(ctx, d.attemptsKey(), ask)
	if err == nil && !begins && earlier.Decision == "" && earlier.All() < c.max && c.suspect.take(d, time.Now()) {
		ask.Alone = true
		if earlier, begins, err = c.store.Begin(ctx, d.attemptsKey(), ask); err != nil || !begins {
			c.suspect.leave(d)
		}
	}
	if err != nil {
		c.log.DebugContext(ctx, "attempts not known", "event_id", d.EventID, "trace_id", d.traceID(), "err", err)
		d.countWithoutRedis()
		return true
	}
	d.Attempt, d.counted = earlier.All()+1, true
	switch {
	case begins:
		return true
	case earlier.Decision != "":
		d.disposition, d.Attempt = decided(earlier.Decision)
	case earlier.All() >= c.max:
		d.Attempt = earlier.All()
		d.disposition = exhausted(earlier)
	default:
		d.counted = false
		d.disposition = postponed()
	}
	return false
}

// countWithoutRedis sets the number of an attempt by what the message itself says. That is all that there is to know
// unless this process or another has had it on this delivery before; then no attempt is the last, and JetStream's count
// makes the delays grow.
func (d *delivery) countWithoutRedis() {
	d.Attempt = d.failed + int(min(d.delivered, math.MaxInt32))
	if d.delivered > 1 {
		d.maxAttempts = endless
	}
	d.counted = true // perhaps, if only the answer was lost
}

// end writes down how the attempt ended. The record of a message that becomes a dead letter is kept until the dead
// letter is stored. After an abort, when work has ended, Redis has only abortedTime to answer.
func (c *attemptCounter) end(work, finishing context.Context, d *delivery) {
	if !d.comesAgain() && d.settlement == ack {
		return // nothing is written down of nearly all messages
	}
	c.suspect.leave(d)
	ctx := finishing
	if work.Err() != nil {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(finishing, abortedTime)
		defer cancel()
	}
	var err error
	switch {
	case d.settlement == ack:
		c.forget(ctx, d)
	case d.settlement == term:
		// If the dead letter cannot be stored, the message comes again, and its handler must not run again.
		err = c.store.Decide(ctx, d.attemptsKey(), d.decision())
		d.counted = true
	case d.errorType.attempted():
		err = c.store.Fail(ctx, d.attemptsKey(), d.deliveryName())
		d.counted = true
	case d.counted: // interrupted, or nobody was there to handle it
		err = c.store.Undo(ctx, d.attemptsKey(), d.deliveryName())
	}
	if err != nil {
		c.log.DebugContext(ctx, "attempts not counted", "event_id", d.EventID, "trace_id", d.traceID(), "err", err)
	}
}

// forget deletes the record of a message that has ended, if there may be one.
func (c *attemptCounter) forget(ctx context.Context, d *delivery) {
	if !d.counted {
		return
	}
	if err := c.store.Forget(ctx, d.attemptsKey()); err != nil {
		c.log.DebugContext(ctx, "attempts not forgotten: they expire", "event_id", d.EventID, "trace_id", d.traceID(), "err", err)
	}
}

// comesAgain reports whether d was delivered before, so that Redis may know of attempts.
func (d *delivery) comesAgain() bool { return d.before+d.delivered > 1 }

// deliveryName tells this delivery of the message from all others, also after the message was stored again.
func (d *delivery) deliveryName() string {
	name := strconv.FormatUint(d.delivered, 10)
	if d.source.route == nil {
		name = d.source.stream + ":" + strconv.FormatUint(d.sequence, 10) + ":" + name
	}
	return name
}

// attemptsKey is the key of the record of d's attempts.
func (d *delivery) attemptsKey() string {
	return attempts.Key(d.origin.stream, d.origin.sequence, d.origin.stored())
}
