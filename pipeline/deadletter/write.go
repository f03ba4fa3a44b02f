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

// MaxCause is how many bytes of a cause are kept.
const MaxCause = 512

// Record is a message that becomes a dead letter.
type Record struct {
	Stream   string    // stream of the message
	Sequence uint64    // in Stream
	Stored   time.Time // when the message was stored in Stream, by JetStream's clock
	Subject  string    // subject of the message
	Headers  nats.Header
	Body     []byte
	Attempts int // deliveries of the message
	Reason   contract.Reason
	Cause    string // for people; cut to MaxCause bytes
}

// Write stores the record as a dead letter and returns when JetStream has confirmed it. A record that is written twice
// within JetStream's duplicate window is stored once. A body that is too large is cut, and the header Arrakis-Truncated
// tells its original size. An error comes from JetStream or ctx.
func (s *Store) Write(ctx context.Context, r *Record) error {
	// The time makes the ID unique, also after the stream was deleted and counts from 1 again.
	id := jetstream.WithMsgID(fmt.Sprintf("%s:%d:%d", r.Stream, r.Sequence, r.Stored.UnixNano()))
	_, err := s.publish(ctx, r.message(), id)
	if errors.Is(err, nats.ErrMaxPayload) {
		_, err = s.publish(ctx, r.cut(s.js.Conn().MaxPayload()), id)
	}
	return err
}

// message is the dead letter: the record's body and headers, and headers that say why.
func (r *Record) message() *nats.Msg {
	m := nats.NewMsg(contract.DeadLetterSubject(r.Stream, r.Reason))
	m.Data = r.Body
	maps.Copy(m.Header, r.Headers)
	// Headers of NATS were meant for the original stream.
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

// cut is message for a record that is too large for NATS. It keeps only the headers of arrakis, and as much of the body
// as fits.
func (r *Record) cut(maxPayload int64) *nats.Msg {
	const headers = 8 << 10 // bytes; enough for the headers of message and the longest cause
	m := r.message()
	m.Header.Set(contract.HeaderTruncated, strconv.Itoa(len(r.Body)))
	maps.DeleteFunc(m.Header, func(name string, _ []string) bool { return !strings.HasPrefix(name, "Arrakis-") })
	m.Data = r.Body[:max(0, min(len(r.Body), int(maxPayload)-headers))]
	return m
}
