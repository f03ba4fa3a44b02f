package limiter

import (
	"context"
	"errors"
	"fmt"
	"time"

	"arrakis/limiter/redishealth"
	"arrakis/limiter/redisscript"
)

const (
	// reservedMark begins the IDs of messages that have a permit reserved, or have had one.
	reservedMark = '\x02'
	// reservedSlack is how late the message of a reservation may come and still be counted for a whole window. It is
	// more than the second by which a scheduled message is late.
	reservedSlack = 1500 * time.Millisecond
	// reserveIDs is how many reservations one call of the script makes at most.
	reserveIDs = 32
)

// ReservedID is the ID under which the message with the given ID reserves a permit, and asks for it when its time has
// come. It is another one, so that the message finds its permit only then.
func ReservedID(id string) string { return string(reservedMark) + id }

// Reservation asks for a permit for later.
type Reservation struct {
	Key   string // without the limiter's prefix
	Limit Limit  // with a Max of 1 or more, or 0 and a boost
	ID    string // a ReservedID
	// Again says that the message has had a reservation, whose time has passed. It gets another one, whatever Most is.
	Again   bool
	Most    int64         // how many reservations of the key may wait for their time; with 0, none is made, and one is found
	Longest time.Duration // that the message can wait

	// Set by Reserve.
	Answer ReserveAnswer
	// Wait is the time until the permit is free, if there is an Answer; of Full and Late, that of the next reservation.
	Wait time.Duration
}

// ReserveAnswer is the answer to a [Reservation].
type ReserveAnswer int64

// The answers of reserve.lua, and Unanswered.
const (
	Late       ReserveAnswer = -1 // the message would have to wait for too long
	Full       ReserveAnswer = 0  // Most reservations wait, or no permit will be free
	Granted    ReserveAnswer = 1  // the permit is the message's from Wait on
	Unanswered ReserveAnswer = 2  // Redis is away, or the key cannot be used
)

// reserveCall is one call of the script, for reservations of one key and limit.
type reserveCall struct {
	redisscript.Call
	asks []*Reservation
}

// Reserve reserves permits, in the order of the batch, in one round trip. What Redis does not answer is asked again, as
// by AllowBatch, and is Unanswered after that. A message that asks again finds its reservation. Release ends one. An
// error is ctx's, or the faults of invalid reservations; after it no answer is valid.
func (l *Limiter) Reserve(ctx context.Context, batch []*Reservation) error {
	for _, r := range batch {
		if err := r.validate(); err != nil {
			return fmt.Errorf("limiter: %w", err)
		}
		r.Answer, r.Wait = Unanswered, 0
	}
	open := batch
	for range redishealth.Attempts {
		calls := l.reserveCalls(open)
		if len(calls) == 0 {
			return ctx.Err()
		}
		scripts := make([]*redisscript.Call, len(calls))
		for i, c := range calls {
			scripts[i] = &c.Call
		}
		if err := redisscript.Run(ctx, l.rdb, l.health, scripts); err != nil {
			return err
		}
		open = nil
		for _, c := range calls {
			if !l.answer(ctx, c) {
				open = append(open, c.asks...)
			}
		}
	}
	return nil
}

func (r *Reservation) validate() error {
	var errs []error
	if len(r.ID) < 2 || r.ID[0] != reservedMark {
		errs = append(errs, fmt.Errorf("%q is no ReservedID", r.ID))
	}
	if r.Limit.highest() < 1 {
		errs = append(errs, fmt.Errorf("a limit of %d has no permits to reserve", r.Limit.Max))
	}
	if err := errors.Join(append(errs, r.Limit.Validate())...); err != nil {
		return fmt.Errorf("key %q: %w", r.Key, err)
	}
	return nil
}

// reserveCalls makes the calls of a round trip. Reservations of keys that are away are left out.
func (l *Limiter) reserveCalls(batch []*Reservation) []*reserveCall {
	type group struct {
		key   string
		limit Limit
		most  int64
	}
	var calls []*reserveCall
	last := make(map[group]*reserveCall)
	for _, r := range batch {
		key := l.o.Prefix + r.Key
		if l.health.KeyAway(key) {
			continue
		}
		g := group{r.Key, r.Limit, r.Most}
		c := last[g]
		if c == nil || len(c.asks) == reserveIDs {
			c = new(reserveCall)
			c.Prepare(l.scripts.reserve, key, limitArg(r.Limit), r.Limit.Window.Milliseconds(), l.clockArg(), r.Most)
			last[g], calls = c, append(calls, c)
		}
		again := 0
		if r.Again {
			again = 1
		}
		c.Append(r.ID, again, r.Longest.Milliseconds())
		c.asks = append(c.asks, r)
	}
	return calls
}

// answer sets the answers of a call. It reports false if the server did not answer.
func (l *Limiter) answer(ctx context.Context, c *reserveCall) bool {
	reply, err := c.Cmd.Int64Slice()
	if err == nil && len(reply) != 2*len(c.asks) {
		err = badReply("%d numbers for %d reservations", len(reply), len(c.asks))
	}
	if err != nil {
		if redishealth.ServerFailed(err) {
			return false
		}
		l.logUnusable(ctx, c.asks[0].Key, err)
		return true
	}
	for i, r := range c.asks {
		r.Answer, r.Wait = ReserveAnswer(reply[2*i]), time.Duration(reply[2*i+1])*time.Millisecond
	}
	return true
}
