package deadletter

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"arrakis/pipeline/contract"
	"arrakis/pipeline/discord"
)

// MaxCause is how many bytes of a cause are kept.
const MaxCause = 512

// Record is a message that becomes a dead letter.
type Record struct {
	// ID tells the record from all others, so that it is stored once though written twice. "" is for a message of a stream:
	// its place there does so.
	ID       string
	Stream   string    // stream of the message
	Sequence uint64    // in Stream
	Stored   time.Time // when the message was stored in Stream, by JetStream's clock
	Subject  string    // subject of the message
	Headers  nats.Header
	Body     []byte
	Attempts int // to handle the message
	Reason   contract.Reason
	Cause    string // for people; cut to MaxCause bytes
}

// Of is the stream whose dead letter it is: the one in its subject. That is the stream of the message, but for one that
// was stored straight in a lane. Whoever looks for dead letters of commands need not know of lanes.
func (r *Record) Of() string {
	if route, ok := contract.RouteOf(r.Subject); ok && r.Stream == contract.StreamOverflow {
		return route.Stream
	}
	return r.Stream
}

// The sizes that a dead letter must keep to, besides the largest payload of the server and of the stream.
const (
	// maxHeaders is how many bytes of headers JetStream takes, less what a server may add.
	maxHeaders = 1<<16 - 1 - 1<<10
	// markBytes is room for the two headers that say what was cut.
	markBytes = 128
)

// Write stores the record as a dead letter and returns when JetStream has confirmed it. A record that is written twice
// within JetStream's duplicate window is stored once. Whatever its headers and body, a record can be stored: headers
// that do not fit, or that NATS cannot carry, are left out, the largest first, and then the body is cut. The headers
// Arrakis-Headers-Cut and Arrakis-Truncated say so. Tokens of Discord's interactions are not stored; see
// [discord.Redact]. An error comes from JetStream or ctx.
func (s *Store) Write(ctx context.Context, r *Record) error {
	r = r.withoutTokens()
	// A stream that has the subjects, but is another one, must not take the dead letter: nobody would look for it there.
	here := jetstream.WithExpectStream(contract.StreamDeadLetter)
	_, err := s.publish(ctx, r.message(s.js.Conn().MaxPayload()), here)
	if !tooLarge(err) {
		return err
	}
	stream, err := s.stream(ctx) // it takes less than the server, or the server takes less than it did
	if err != nil {
		return err
	}
	limit := s.js.Conn().MaxPayload()
	if m := int64(stream.CachedInfo().Config.MaxMsgSize); m > 0 {
		limit = min(limit, m)
	}
	_, err = s.publish(ctx, r.message(limit), here)
	return err
}

// withoutTokens returns the record without tokens of interactions: a dead letter is kept for longer than they are valid,
// and read by people who must not write in a bot's name.
func (r *Record) withoutTokens() *Record {
	safe := *r
	safe.Body = discord.Redact(r.Body)
	safe.Cause = withoutTokens(r.Cause)
	safe.Subject = withoutTokens(r.Subject)
	safe.Headers = make(nats.Header, len(r.Headers))
	for name, values := range r.Headers {
		safe.Headers[name] = make([]string, len(values))
		for i, v := range values {
			safe.Headers[name][i] = withoutTokens(v)
		}
	}
	return &safe
}

func withoutTokens(text string) string { return string(discord.Redact([]byte(text))) }

// tooLarge reports whether the server or the stream refuses a message because of its size.
func tooLarge(err error) bool {
	const exceedsMaximum jetstream.ErrorCode = 10054 // "message size exceeds maximum allowed"
	api, ok := errors.AsType[*jetstream.APIError](err)
	return errors.Is(err, nats.ErrMaxPayload) || ok && api.ErrorCode == exceedsMaximum
}

// message is the dead letter: the record's body and headers, and headers that say why. It has at most limit bytes.
func (r *Record) message(limit int64) *nats.Msg {
	m := nats.NewMsg(contract.DeadLetterSubject(r.Of(), r.Reason))
	m.Header = r.reasons()
	m.Data = r.Body
	theirs, unfit := r.theirs()
	for _, name := range theirs {
		m.Header[name] = r.Headers[name]
	}
	if size := headersSize(m.Header); unfit == 0 && size <= maxHeaders && int64(size+len(m.Data)) <= limit {
		return m
	}
	m.Header = r.reasons()
	shorten(m.Header, contract.HeaderError, int64(headersSize(m.Header)+markBytes)-limit)
	shorten(m.Header, contract.HeaderSubject, int64(headersSize(m.Header)+markBytes)-limit)
	size := headersSize(m.Header) + markBytes
	for i, name := range theirs {
		size += headerSize(name, r.Headers[name])
		if size > maxHeaders || int64(size+len(m.Data)) > limit {
			unfit += len(theirs) - i
			break
		}
		m.Header[name] = r.Headers[name]
	}
	if unfit > 0 {
		m.Header[contract.HeaderHeadersCut] = []string{strconv.Itoa(unfit)}
	}
	if room := max(0, limit-int64(headersSize(m.Header)+markBytes)); int64(len(m.Data)) > room {
		m.Header[contract.HeaderTruncated] = []string{strconv.Itoa(len(r.Body))}
		m.Data = r.Body[:room]
	}
	return m
}

// reasons are the headers of the dead letter itself.
func (r *Record) reasons() nats.Header {
	id := r.ID
	if id == "" { // the time makes it unique, also after the stream was deleted and counts from 1 again
		id = fmt.Sprintf("%s:%d:%d", r.Stream, r.Sequence, r.Stored.UnixNano())
	}
	return nats.Header{
		jetstream.MsgIDHeader:   {id},
		contract.HeaderReason:   {string(r.Reason)},
		contract.HeaderError:    {contract.Clip(r.Cause, MaxCause)},
		contract.HeaderStream:   {r.Stream},
		contract.HeaderSubject:  {r.Subject},
		contract.HeaderSequence: {strconv.FormatUint(r.Sequence, 10)},
		contract.HeaderAttempts: {strconv.Itoa(r.Attempts)},
	}
}

// theirs returns the names of the record's headers that belong into the dead letter, the smallest first, and how many
// cannot be published, because nats.go does not write their names or would not show the dead letter. Headers of NATS
// were meant for the original stream, and those of the dead letter itself take precedence.
func (r *Record) theirs() (names []string, unfit int) {
	reasons := r.reasons()
	for name := range r.Headers {
		_, taken := reasons[name]
		switch {
		case taken, strings.HasPrefix(name, "Nats-"), name == contract.HeaderTruncated, name == contract.HeaderHeadersCut:
		case !validHeader(name), name == "Status" && len(r.Body) == 0: // without a body, NATS takes it for its own
			unfit++
		default:
			names = append(names, name)
		}
	}
	slices.SortFunc(names, func(a, b string) int {
		return cmp.Or(headerSize(a, r.Headers[a])-headerSize(b, r.Headers[b]), strings.Compare(a, b))
	})
	return names, unfit
}

// validHeader reports whether nats.go writes a header of this name. It reads any name.
func validHeader(name string) bool {
	for i := range len(name) {
		if c := name[i]; c <= ' ' || c > '~' || strings.IndexByte("\"()/,:;<=>?@[\\]{}", c) >= 0 {
			return false
		}
	}
	return name != ""
}

// headersSize is how many bytes of a message its headers take.
func headersSize(h nats.Header) int {
	size := len("NATS/1.0\r\n\r\n")
	for name, values := range h {
		size += headerSize(name, values)
	}
	return size
}

func headerSize(name string, values []string) (size int) {
	for _, v := range values {
		size += len(name) + len(": \r\n") + len(v)
	}
	return size
}

// shorten cuts the header by excess bytes, or to nothing.
func shorten(h nats.Header, name string, excess int64) {
	if excess > 0 {
		v := h[name][0]
		h[name] = []string{v[:max(0, int64(len(v))-excess)]}
	}
}
