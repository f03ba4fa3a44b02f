package deadletter

import (
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/nats-io/nats.go/jetstream"

	"arrakis/pipeline/contract"
)

// Entry is one dead letter. What its headers do not say is zero.
type Entry struct {
	Seq       uint64          `json:"seq"`      // among the dead letters; what Replay takes
	Time      time.Time       `json:"time"`     // when it was stored there
	Stream    string          `json:"stream"`   // that the message came from
	Subject   string          `json:"subject"`  // that it was published to
	Sequence  uint64          `json:"sequence"` // in that stream
	Reason    contract.Reason `json:"reason"`
	Error     string          `json:"error"`
	Attempts  int             `json:"attempts"` // how often it was delivered
	RequestID string          `json:"request_id,omitempty"`
	// EventID and Community are those of the body, as far as it can be decoded.
	EventID   string `json:"event_id,omitempty"`
	Community string `json:"community_id,omitempty"`
	// Body is the message as it came, if it is valid UTF-8; BodyBase64 is any
	// other.
	Body       string `json:"body,omitempty"`
	BodyBase64 []byte `json:"body_base64,omitempty"`
	// Headers are all of its headers as they came. Only Get has them.
	Headers map[string][]string `json:"headers,omitempty"`
}

// newEntry reads a message of the stream of dead letters. Whoever may publish
// there has written it, so nothing in it is relied on.
func newEntry(m *jetstream.RawStreamMsg) Entry {
	header := func(name string) string { return strings.ToValidUTF8(m.Header.Get(name), "\uFFFD") }
	// A header that is no number is shown as 0.
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
	if o, ok := originOf(l.Subject); ok {
		// On an error it holds what was decoded before.
		e, _ := contract.DecodePartial(o.Kind, m.Data)
		l.EventID, l.Community = e.EventID, e.TenantKey
	}
	return l
}

// originOf finds the route of messages that are published to subject. ok is false for a subject outside all routes and
// for one that cannot be published to.
func originOf(subject string) (r *contract.Route, ok bool) {
	if !publishable(subject) {
		return nil, false
	}
	for kind := range contract.Kind(contract.NumKinds) {
		if r := kind.Route(); strings.HasPrefix(subject, r.Subject+".") {
			return r, true
		}
	}
	return nil, false
}

// publishable reports whether subject is non-empty tokens of visible ASCII,
// joined by dots, without a wildcard.
func publishable(subject string) bool {
	last := byte('.')
	for i := range len(subject) {
		c := subject[i]
		if c <= ' ' || c > '~' || c == '*' || c == '>' || c == '.' && last == '.' {
			return false
		}
		last = c
	}
	return last != '.' && len(subject) <= maxSubject
}

const maxSubject = 1024 // bytes
