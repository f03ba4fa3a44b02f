package deadletter

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"arrakis/pipeline/contract"
)

// RefusedError means that a dead letter cannot be replayed. Either it does not name its original subject, or no route
// has that subject, or it does not hold the whole message, or NATS does not take the message any more.
type RefusedError struct {
	Seq        uint64
	Subject    string // the original subject, from the header
	Truncated  string // the original size of the body in bytes, from the header; "" if the body is complete
	HeadersCut string // how many headers are missing, from the header; "" if none are
	Err        error  // why NATS does not take the message; nil if it was not asked
}

func (e *RefusedError) Unwrap() error { return e.Err }

func (e *RefusedError) Error() string {
	switch {
	case e.Truncated != "":
		return fmt.Sprintf("dead letter %d cannot be replayed: it holds only the beginning of a body of %.20s bytes", e.Seq, e.Truncated)
	case e.HeadersCut != "":
		return fmt.Sprintf("dead letter %d cannot be replayed: %.20s headers of its message could not be kept", e.Seq, e.HeadersCut)
	case e.Err != nil:
		return fmt.Sprintf("dead letter %d cannot be replayed: NATS does not take its message to %.200q: %v", e.Seq, e.Subject, e.Err)
	}
	return fmt.Sprintf("dead letter %d cannot be replayed: its %s is %.200q, and arrakis takes no messages from that subject",
		e.Seq, contract.HeaderSubject, e.Subject)
}

// Replayed says where a replayed message was stored.
type Replayed struct {
	Seq      uint64 `json:"seq"` // of the deleted dead letter
	Stream   string `json:"stream"`
	Subject  string `json:"subject"`
	Sequence uint64 `json:"sequence"` // of the message in Stream
	// Duplicate says that an earlier replay had stored the message already.
	Duplicate bool `json:"duplicate"`
}

// Replay publishes the message of the dead letter at seq to its original subject, waits until the message is stored,
// and deletes the dead letter. The message has its original body and headers, and the header Arrakis-Replay. It has no
// Arrakis-Reply-To, because the sender no longer waits. Errors: [ErrNotFound],
// [*RefusedError]. After any other error Replay may be repeated, however late, and the message is stored once; see the
// package comment.
func (s *Store) Replay(ctx context.Context, seq uint64) (Replayed, error) {
	done, err := s.replay(ctx, seq)
	if err != nil {
		return Replayed{}, fmt.Errorf("replay dead letter %d: %w", seq, err)
	}
	return done, nil
}

func (s *Store) replay(ctx context.Context, seq uint64) (Replayed, error) {
	letters, stored, err := s.get(ctx, seq)
	if err != nil {
		return Replayed{}, err
	}
	route, refused := routeOf(seq, stored.Header)
	if refused != nil {
		return Replayed{}, refused
	}
	done, err := s.storeOnce(ctx, letters, stored, route.Stream)
	if tooLarge(err) || errors.Is(err, nats.ErrBadHeaderMsg) {
		refused = &RefusedError{Seq: seq, Subject: stored.Header.Get(contract.HeaderSubject), Err: err}
		err = refused
	}
	ctx = context.WithoutCancel(ctx) // what has begun to change is ended, so that the caller hears what was done
	if err == nil {
		if err := s.remove(ctx, letters, seq); err != nil {
			return Replayed{}, fmt.Errorf("the message is stored in %s, but its dead letter is not deleted: %w", route.Stream, err)
		}
	}
	if err == nil || errors.Is(err, ErrNotFound) || refused != nil {
		unmark(ctx, letters, replayOf(stored)) // the mark is of no use any more
	}
	return done, err
}

// routeOf is the route that a dead letter goes back to, or why it cannot be replayed, as far as it says so itself.
func routeOf(seq uint64, h nats.Header) (*contract.Route, *RefusedError) {
	refused := &RefusedError{
		Seq: seq, Subject: h.Get(contract.HeaderSubject),
		Truncated: h.Get(contract.HeaderTruncated), HeadersCut: h.Get(contract.HeaderHeadersCut),
	}
	route, ok := contract.RouteOf(refused.Subject)
	if !ok || refused.Truncated != "" || refused.HeadersCut != "" {
		return nil, refused
	}
	return route, nil
}

// Replayable says why an entry that Get returned cannot be replayed: a [*RefusedError], or nil.
func (e *Entry) Replayable() error {
	if _, refused := routeOf(e.Seq, e.Headers); refused != nil {
		return refused
	}
	return nil
}

// storeOnce stores the message of a dead letter in its stream, unless an earlier replay has.
func (s *Store) storeOnce(ctx context.Context, letters jetstream.Stream, stored *jetstream.RawStreamMsg, stream string) (Replayed, error) {
	subject := stored.Header.Get(contract.HeaderSubject)
	done := Replayed{Seq: stored.Sequence, Stream: stream, Subject: subject}
	m, err := s.mark(ctx, replayOf(stored), stream)
	if err != nil {
		return Replayed{}, fmt.Errorf("mark the replay: %w", err)
	}
	if !m.first {
		if done.Sequence, err = s.find(ctx, m.origin, subject, replayOf(stored), m.after); err != nil {
			return Replayed{}, fmt.Errorf("look for the message in %s: %w", stream, err)
		}
		if done.Sequence > 0 {
			done.Duplicate = true
			return done, nil
		}
	}
	ack, err := s.republish(context.WithoutCancel(ctx), letters, stored, stream)
	if err != nil {
		return Replayed{}, fmt.Errorf("publish to %s: %w", subject, err)
	}
	done.Sequence, done.Duplicate = ack.Sequence, ack.Duplicate
	return done, nil
}

// republish publishes the message of a dead letter, if the dead letter is still there. Both happen within timeout, so
// that no replay publishes long after it has looked: what it looked at may have changed by then.
func (s *Store) republish(ctx context.Context, letters jetstream.Stream, stored *jetstream.RawStreamMsg, stream string) (*jetstream.PubAck, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	_, err := s.message(ctx, letters, stored.Sequence, "")
	gone := errors.Is(err, ErrNotFound)
	if gone && !evicted(ctx, letters, stored.Sequence) || err != nil && !gone {
		return nil, err
	}
	return s.publish(ctx, restored(stored),
		jetstream.WithExpectStream(stream), jetstream.WithMsgID("replay:"+replayOf(stored)))
}

// restored is the original message of a dead letter.
func restored(stored *jetstream.RawStreamMsg) *nats.Msg {
	m := nats.NewMsg(stored.Header.Get(contract.HeaderSubject))
	m.Data = stored.Data
	maps.Copy(m.Header, stored.Header)
	for _, name := range []string{
		contract.HeaderReason, contract.HeaderError, contract.HeaderStream, contract.HeaderSubject, contract.HeaderSequence,
		contract.HeaderAttempts, contract.HeaderReplyTo,
	} {
		delete(m.Header, name)
	}
	// These headers, such as the message ID, were meant for the stream DEADLETTER.
	maps.DeleteFunc(m.Header, func(name string, _ []string) bool { return strings.HasPrefix(name, "Nats-") })
	m.Header[contract.HeaderReplay] = []string{replayOf(stored)}
	return m
}

// remove deletes the dead letter. It succeeds if the dead letter is gone already, because another replay was faster.
func (s *Store) remove(ctx context.Context, letters jetstream.Stream, seq uint64) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	err := letters.DeleteMsg(ctx, seq)
	if err == nil {
		return nil
	}
	if _, gone := s.message(ctx, letters, seq, ""); errors.Is(gone, ErrNotFound) {
		return nil
	}
	return err
}
