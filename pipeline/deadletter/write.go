package deadletter

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"arrakis/pipeline/contract"
)

// MaxCause is how much of a cause is kept, in bytes.
const MaxCause = 512

// Record is a message that becomes a dead letter.
type Record struct {
	Stream   string    // that the message is in
	Sequence uint64    // in Stream
	Stored   time.Time // in Stream, by JetStream's clock
	Subject  string    // that it was published to
	Headers  nats.Header
	Body     []byte
	Attempts int // how often it was delivered
	Reason   contract.Reason
	Cause    string // for people; cut to MaxCause
}

// Write stores the record as a dead letter and returns when JetStream has
// confirmed it. A record that is written twice is stored once within JetStream's
// duplicate window. A body that does not fit is cut, and the header
// Arrakis-Truncated says its size. An error is that of JetStream or ctx.
func (s *Store) Write(ctx context.Context, r *Record) error {
	// Unique for a message, also of a stream that was deleted and counts from 1 again.
	id := jetstream.WithMsgID(fmt.Sprintf("%s:%d:%d", r.Stream, r.Sequence, r.Stored.UnixNano()))
	_, err := s.publish(ctx, r.message(), id)
	if errors.Is(err, nats.ErrMaxPayload) {
		_, err = s.publish(ctx, r.cut(s.js.Conn().MaxPayload()), id)
	}
	return err
}

// message is what is stored: the record's body and headers, and why.
func (r *Record) message() *nats.Msg {
	m := nats.NewMsg(contract.DeadLetterSubject(r.Stream, r.Reason))
	m.Data = r.Body
	maps.Copy(m.Header, r.Headers)
	// Headers of NATS were meant for the stream that the message was published to.
	maps.DeleteFunc(m.Header, func(name string, _ []string) bool { return strings.HasPrefix(name, "Nats-") })
	for name, value := range map[string]string{
		contract.HeaderReason:   string(r.Reason),
		contract.HeaderError:    contract.Clip(r.Cause, MaxCause),
		contract.HeaderStream:   r.Stream,
		contract.HeaderSubject:  r.Subject,
		contract.HeaderSequence: strconv.FormatUint(r.Sequence, 10),
		contract.HeaderAttempts: strconv.Itoa(r.Attempts),
	} {
		m.Header[name] = []string{value}
	}
	return m
}

// cut is message for a record that is too large for NATS: with only the
// headers of arrakis, and as much of the body as fits beside them.
func (r *Record) cut(maxPayload int64) *nats.Msg {
	const headers = 8 << 10 // room for those of message and the longest cause
	m := r.message()
	m.Header.Set(contract.HeaderTruncated, strconv.Itoa(len(r.Body)))
	maps.DeleteFunc(m.Header, func(name string, _ []string) bool { return !strings.HasPrefix(name, "Arrakis-") })
	m.Data = r.Body[:max(0, min(len(r.Body), int(maxPayload)-headers))]
	return m
}
