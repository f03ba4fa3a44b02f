package deadletter

import (
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/nats-io/nats.go/jetstream"

	"arrakis/pipeline/contract"
)

// Entry is one dead letter. A field whose header is missing is zero.
type Entry struct {
	Seq       uint64          `json:"seq"`      // sequence in DEADLETTER; the argument of Replay
	Time      time.Time       `json:"time"`     // when the dead letter was stored
	Stream    string          `json:"stream"`   // original stream of the message
	Subject   string          `json:"subject"`  // original subject of the message
	Sequence  uint64          `json:"sequence"` // sequence in Stream
	Reason    contract.Reason `json:"reason"`
	Error     string          `json:"error"`
	Attempts  int             `json:"attempts"` // to handle the message
	RequestID string          `json:"request_id,omitempty"`
	// EventID and Community are those that the message carries, "" if its body cannot be decoded so far.
	EventID   string `json:"event_id,omitempty"`
	Community string `json:"community_id,omitempty"`
	// Body is the original body, if it is valid UTF-8. BodyBase64 is any other body.
	Body       string `json:"body,omitempty"`
	BodyBase64 []byte `json:"body_base64,omitempty"`
	// Headers are all headers of the dead letter. Only Get sets them.
	Headers map[string][]string `json:"headers,omitempty"`
}

// newEntry makes an entry from a message of DEADLETTER. Any NATS client may have published that message, so newEntry
// does not trust its contents.
func newEntry(m *jetstream.RawStreamMsg) Entry {
	header := func(name string) string { return strings.ToValidUTF8(m.Header.Get(name), "\uFFFD") }
	// A header that is not a number is shown as 0.
	sequence, _ := strconv.ParseUint(header(contract.HeaderSequence), 10, 64)
	attempts, _ := strconv.Atoi(header(contract.HeaderAttempts))
	l := Entry{
		Seq:       m.Sequence,
		Time:      m.Time.UTC(),
		Stream:    header(contract.HeaderStream),
		Subject:   header(contract.HeaderSubject),
		Sequence:  sequence,
		Reason:    contract.Reason(header(contract.HeaderReason)),
		Error:     header(contract.HeaderError),
		Attempts:  attempts,
		RequestID: header(contract.HeaderRequestID),
	}
	if utf8.Valid(m.Data) {
		l.Body = string(m.Data)
	} else {
		l.BodyBase64 = m.Data
	}
	l.EventID, l.Community = identity(m)
	return l
}

// identity returns the event ID and the community of a dead letter.
func identity(m *jetstream.RawStreamMsg) (event, community string) {
	route, ok := contract.RouteOf(m.Header.Get(contract.HeaderSubject))
	if !ok {
		return "", ""
	}
	e, _ := contract.DecodePartial(route.Kind, m.Data) // after an error, e holds the members decoded before it
	return e.EventID, e.TenantKey
}
