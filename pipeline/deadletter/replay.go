package deadletter

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strconv"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"arrakis/pipeline/contract"
)

// RefusedError means that a dead letter cannot be put back, because it does
// not say where it came from, names a subject that is none of the streams', or
// holds only the beginning of a body that was too large for it.
type RefusedError struct {
	Seq       uint64
	Subject   string // as its header has it
	Truncated string // the size of the body in bytes, as its header has it; "" if it is whole
}

func (e *RefusedError) Error() string {
	if e.Truncated != "" {
		return fmt.Sprintf("dead letter %d cannot be replayed: it holds only the beginning of a body of %.20s bytes", e.Seq, e.Truncated)
	}
	return fmt.Sprintf("dead letter %d cannot be replayed: its %s is %.200q, which none of the streams that are worked on holds",
		e.Seq, contract.HeaderSubject, e.Subject)
}

// Replayed says where a dead letter was put back.
type Replayed struct {
	Seq      uint64 `json:"seq"` // the dead letter's, which is deleted
	Stream   string `json:"stream"`
	Subject  string `json:"subject"`
	Sequence uint64 `json:"sequence"` // in Stream
	// Duplicate says that an earlier replay had stored it already.
	Duplicate bool `json:"duplicate"`
}

// Replay publishes the dead letter at seq to its original subject, waits until
// it is stored there, and deletes the dead letter. It carries its original
// body and headers and Arrakis-Replay, but no Arrakis-Reply-To: whoever waited
// there is gone. Errors: [ErrNotFound], [*RefusedError]; after any other error
// Replay may be repeated, and the message is stored once.
func (s *Store) Replay(ctx context.Context, seq uint64) (Replayed, error) {
	done, err := s.replay(ctx, seq)
	if err != nil {
		return Replayed{}, fmt.Errorf("replay dead letter %d: %w", seq, err)
	}
	return done, nil
}

func (s *Store) replay(ctx context.Context, seq uint64) (Replayed, error) {
	stream, letter, err := s.get(ctx, seq)
	if err != nil {
		return Replayed{}, err
	}
	subject, truncated := letter.Header.Get(contract.HeaderSubject), letter.Header.Get(contract.HeaderTruncated)
	origin, ok := originOf(subject)
	if !ok || truncated != "" {
		return Replayed{}, &RefusedError{Seq: seq, Subject: subject, Truncated: truncated}
	}
	ack, err := s.publish(ctx, restored(letter, subject),
		jetstream.WithExpectStream(origin.Stream),
		// Time and sequence: a stream that was made anew counts from 1 again.
		jetstream.WithMsgID(fmt.Sprintf("replay:%d:%d", seq, letter.Time.UnixNano())))
	if err != nil {
		return Replayed{}, fmt.Errorf("publish to %s: %w", subject, err)
	}
	if err := remove(ctx, stream, seq); err != nil {
		return Replayed{}, fmt.Errorf("it is stored in %s, but the dead letter is not deleted: %w", ack.Stream, err)
	}
	return Replayed{Seq: seq, Stream: ack.Stream, Subject: subject, Sequence: ack.Sequence, Duplicate: ack.Duplicate}, nil
}

// restored is the message that a dead letter was made of.
func restored(letter *jetstream.RawStreamMsg, subject string) *nats.Msg {
	m := nats.NewMsg(subject)
	m.Data = letter.Data
	maps.Copy(m.Header, letter.Header)
	for _, name := range []string{
		contract.HeaderReason, contract.HeaderError, contract.HeaderStream, contract.HeaderSubject, contract.HeaderSequence,
		contract.HeaderAttempts, contract.HeaderReplyTo,
	} {
		delete(m.Header, name)
	}
	// These were for the stream of dead letters, among them its message ID.
	maps.DeleteFunc(m.Header, func(name string, _ []string) bool { return strings.HasPrefix(name, "Nats-") })
	m.Header[contract.HeaderReplay] = []string{strconv.FormatUint(letter.Sequence, 10)}
	return m
}

// remove deletes the dead letter. That it is gone already is as good: another
// replay was faster.
func remove(ctx context.Context, s jetstream.Stream, seq uint64) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	err := s.DeleteMsg(ctx, seq)
	if err == nil {
		return nil
	}
	if _, gone := message(ctx, s, seq); errors.Is(gone, ErrNotFound) {
		return nil
	}
	return err
}
