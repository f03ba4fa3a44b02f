package streams

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// tally is the count of the messages that a stream has dropped before a worker saw them. JetStream does not tell, so
// they are counted by difference: of the messages that were stored, those that were neither delivered once nor are
// waiting. The difference is kept between two looks, and so is the time at which it was right.
//
// Between two looks between which the stream cannot have dropped an unread message the difference is set to zero. That
// keeps errors of the past (deliveries that a killed worker did not count, a state that a killed server lost, a purge)
// from the count. While messages are dropped, the count can be too low by the messages that were delivered again to a
// worker that died within seconds, or that no worker can see, and wrong, either way, by those that were delivered again
// in the seconds before it began. What is deleted or purged by hand meanwhile is counted as dropped.
type tally struct {
	Dropped  uint64    `json:"dropped"`
	Dropping bool      `json:"dropping,omitempty"` // a look of the last minute found dropped messages
	DropAt   time.Time `json:"drop_at,omitzero"`   // the last look that did
	// Stream and Consumers say when these were created. If one is made again, its numbers begin anew.
	Stream    time.Time `json:"stream"`
	Consumers string    `json:"consumers"`

	At     time.Time `json:"at"`               // of the last look, by the server's clock
	Oldest time.Time `json:"oldest,omitzero"`  // when the oldest message was stored
	Read   uint64    `json:"read"`             // every message up to this sequence had been delivered
	Gone   uint64    `json:"gone"`             // messages that were stored once and are not any more
	Msgs   uint64    `json:"msgs"`             // in the stream
	Bytes  uint64    `json:"bytes"`            // of these
	Base   int64     `json:"base"`             // the balance at which nothing is left to be counted
	Excess int64     `json:"excess,omitempty"` // what the last look has found at most, to be confirmed by the next

	Strays   int64     `json:"strays,omitempty"`  // messages that no consumer has, at the last look; see sweep
	Searched time.Time `json:"searched,omitzero"` // when subjects that nobody reads were last looked for in vain
	Last     uint64    `json:"last,omitempty"`    // last sequence of the stream when they were last looked for to the end
}

func parseTally(text string) (t tally, err error) {
	if text == "" {
		return t, nil
	}
	if err := json.Unmarshal([]byte(text), &t); err != nil {
		return tally{}, fmt.Errorf("the record of the stream: %w", err)
	}
	return t, nil
}

// sample is what a look at a stream and its consumers finds. The stream is read before and after the consumers:
// what is stored or acknowledged in between makes the balance too small with the one and too large with the other.
type sample struct {
	stream    *jetstream.StreamInfo // before
	after     *jetstream.StreamInfo
	consumers []*jetstream.ConsumerInfo // those that count; see Keeper.sample
	missing   bool                      // a consumer is not among them, because it does not exist or did not answer
}

// dropPause is how long a stream must have dropped nothing before the log says so.
const dropPause = time.Minute

// ageSlack is how far the clocks of servers may be apart: messages may seem that much younger than they are.
const ageSlack = time.Second

func (s *sample) workQueue() bool { return s.stream.Config.Retention == jetstream.WorkQueuePolicy }

// signed converts a count or a sequence, which stays below 2^63.
func signed(n uint64) int64 { return int64(n) } //nolint:gosec // see above

// gone is how many messages the stream held once and does not any more.
func gone(s *jetstream.StreamState) uint64 { return s.LastSeq - s.Msgs }

// strays is how many messages of a work queue are on no consumer's list. Messages on their way make it wrong for a
// moment, either way.
func (s *sample) strays() int64 {
	n := signed(s.stream.State.Msgs)
	for _, c := range s.consumers {
		n -= signed(c.NumPending) + int64(c.NumAckPending)
	}
	return n
}

// balance is how many messages were stored and neither delivered nor are waiting, if no message was delivered twice. It
// is at least low and at most high.
func (s *sample) balance() (low, high int64) {
	return s.balanceWith(&s.stream.State), s.balanceWith(&s.after.State)
}

func (s *sample) balanceWith(state *jetstream.StreamState) int64 {
	n := signed(state.LastSeq)
	if s.workQueue() {
		n = signed(gone(state))
	}
	for _, c := range s.consumers {
		n -= signed(c.Delivered.Consumer)
		if s.workQueue() {
			n += int64(c.NumAckPending) // delivered, but not gone
		} else {
			n -= signed(c.NumPending)
		}
	}
	return n
}

// read is the sequence up to which no message is unread.
func (s *sample) read() uint64 {
	read := s.stream.State.LastSeq
	for _, c := range s.consumers {
		if c.NumPending > 0 {
			read = min(read, c.Delivered.Stream)
		}
	}
	return read
}

// created tells consumers from those that had their names before.
func (s *sample) created() string {
	var names []string
	for _, c := range s.consumers {
		names = append(names, fmt.Sprintf("%s %d", c.Name, c.Created.UnixNano()))
	}
	slices.Sort(names)
	return fmt.Sprint(names)
}

// fresh says that nothing has been delivered and that the consumers are as old as the stream. Then balance is right by
// itself.
func (s *sample) fresh() bool {
	for _, c := range s.consumers {
		if c.Delivered.Consumer > 0 || c.Created.Sub(s.stream.Created) > time.Minute {
			return false
		}
	}
	return true
}

// mayHaveDropped says whether the stream can have dropped an unread message since the look of t, up to the end of this
// one.
func (s *sample) mayHaveDropped(t *tally) bool {
	c := &s.stream.Config
	refuses := c.Discard == jetstream.DiscardNew && c.DiscardNewPerSubject
	bySubject := c.MaxMsgsPerSubject > 0 && !refuses || c.AllowMsgTTL // drops messages that are not the oldest
	if s.after.State.FirstSeq <= t.Read+1 && !bySubject {
		return false
	}
	if bySubject || c.Discard == jetstream.DiscardOld && s.wasFull(t) {
		return true
	}
	if c.MaxAge <= 0 {
		return false
	}
	now := s.after.TimeStamp.Add(ageSlack)
	oldest := t.At // of the messages that were stored since
	if !t.Oldest.IsZero() && t.Oldest.Before(oldest) {
		oldest = t.Oldest
	}
	return now.Sub(oldest) >= c.MaxAge
}

// wasFull says whether the stream may have reached its bound in bytes or messages since the look of t. A stream that
// drops by size stays about full until its messages get too old, so half full is full enough. A work queue may have
// been full and worked off since.
func (s *sample) wasFull(t *tally) bool {
	c := &s.stream.Config
	before, after := &s.stream.State, &s.after.State
	half := func(bound int64, most uint64) bool { return bound > 0 && (s.workQueue() || signed(most) >= bound/2) }
	return half(c.MaxBytes, max(t.Bytes, before.Bytes, after.Bytes)) || half(c.MaxMsgs, max(t.Msgs, before.Msgs, after.Msgs))
}

// next is the tally after a look. added is how many dropped messages it adds. redelivered is how often messages were
// delivered again, and swept how many became dead letters because nobody reads them.
func (t tally) next(s *sample, redelivered, swept int64) (after tally, added uint64) {
	after = t
	after.Stream, after.Consumers = s.stream.Created, s.created()
	after.At, after.Oldest, after.Read, after.Gone = s.stream.TimeStamp, s.stream.State.FirstTime, s.read(), gone(&s.stream.State)
	after.Msgs, after.Bytes = s.stream.State.Msgs, s.stream.State.Bytes
	after.Strays = s.strays()
	after.Excess = 0
	if s.stream.State.Msgs == 0 {
		after.Oldest = time.Time{}
	}
	low, high := s.balance()
	correction := redelivered - swept
	excess := low + correction - t.Base
	confirmed := max(0, min(t.Excess, excess)) // what two looks in a row have found
	switch {
	case !t.Stream.Equal(s.stream.Created):
		after.Base, after.Last, after.Searched = high+correction, 0, time.Time{}
		if s.fresh() {
			after.Base = redelivered - swept
			after.Excess = max(0, high)
		}
	case t.Consumers != after.Consumers:
		// A consumer was lost: what it had delivered is not known any more.
		after.Excess = s.leftSince(&t)
		after.Base = high + correction - after.Excess
	case s.mayHaveDropped(&t):
		added = uint64(confirmed)
		after.Excess = max(0, high+correction-t.Base-confirmed)
	case t.Excess > 0:
		added = uint64(confirmed)
	case excess > 0: // an error of the past, or the first look since a drop
		after.Base = high + correction
	default:
		after.Base = min(t.Base, high+correction)
	}
	after.Base += signed(added)
	after.Dropped += added
	if added > 0 {
		after.Dropping, after.DropAt = true, after.At
	} else if after.At.Sub(t.DropAt) > dropPause {
		after.Dropping = false
	}
	return after, added
}

// leftSince is how many messages may have been dropped unread since the look of t, if a consumer was lost meanwhile. It
// includes what was handled between that look and the loss, a few seconds' worth.
func (s *sample) leftSince(t *tally) int64 {
	if !s.mayHaveDropped(t) {
		return 0
	}
	if s.workQueue() {
		return max(0, signed(gone(&s.stream.State))-signed(t.Gone))
	}
	return max(0, signed(s.stream.State.FirstSeq)-1-signed(t.Read))
}
