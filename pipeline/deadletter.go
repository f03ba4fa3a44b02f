package pipeline

import (
	"fmt"
	"maps"
	"strconv"
	"strings"

	"github.com/nats-io/nats.go"

	"arrakis/pipeline/contract"
)

// deadLetter is the message that is stored in place of d: its body and
// headers, and why.
func (d *delivery) deadLetter() *nats.Msg {
	m := nats.NewMsg(contract.DeadLetterSubject(d.source.route.Stream, d.reason))
	m.Data = d.Body
	maps.Copy(m.Header, d.headers)
	// They were meant for the stream that the message was published to.
	for name := range m.Header {
		if strings.HasPrefix(name, "Nats-") {
			delete(m.Header, name)
		}
	}
	for name, value := range map[string]string{
		contract.HeaderReason:   string(d.reason),
		contract.HeaderError:    clip(d.cause),
		contract.HeaderStream:   d.source.route.Stream,
		contract.HeaderSubject:  d.Subject,
		contract.HeaderSequence: strconv.FormatUint(d.sequence, 10),
		contract.HeaderAttempts: strconv.Itoa(d.Attempt),
	} {
		m.Header[name] = []string{value}
	}
	return m
}

// cutDeadLetter is a dead letter that is too large to be published with the
// headers that say why: its body is cut to fit, and a header tells its size.
func (d *delivery) cutDeadLetter(maxPayload int64) *nats.Msg {
	const headers = 8 << 10 // room for those of deadLetter and the longest cause
	m := d.deadLetter()
	m.Header.Set(contract.HeaderTruncated, strconv.Itoa(len(d.Body)))
	for name := range m.Header {
		if !strings.HasPrefix(name, "Arrakis-") {
			delete(m.Header, name)
		}
	}
	m.Data = d.Body[:max(0, min(len(d.Body), int(maxPayload)-headers))]
	return m
}

// deadLetterID is unique for a message of a stream, for as long as JetStream
// looks for duplicates.
func (d *delivery) deadLetterID() string {
	return fmt.Sprintf("%s:%d:%d", d.source.route.Stream, d.sequence, d.stored.UnixNano())
}

// clip bounds what of a message's content goes into headers and logs, and
// keeps it on one line.
func clip(s string) string {
	const most = 512
	if len(s) > most {
		s = s[:most] + "…"
	}
	return strings.ToValidUTF8(strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, s), "\uFFFD")
}
