package contract

import (
	"fmt"
	"strings"
	"sync"
	"unsafe"
)

// Envelope is the part of a message that arrakis reads. Its strings and Data are views of the message's body, which
// must not be written to. Code that keeps one of them longer than the message must clone it.
type Envelope struct {
	EventID   string // 1 to 128 visible ASCII characters; unique for a message
	EventType string // dot-separated tokens, at most 128 bytes
	TenantKey string // community_id, else guild_id: the ID under which the tenant's config is stored
	GuildID   string // "" for null
	UserID    string // "" for null
	Command   string // KindCommand: data.command_name, else the event type's, else "unknown"
	CheckType string // KindEligibility and KindSync
	Timestamp int64  // the gateway's clock, unix ms; 0 when left out. Not trusted.
	Data      []byte // raw JSON, "" when left out
}

// Name is the name by which a handler is chosen: the command, the check type or the event type.
func (e *Envelope) Name(k Kind) string {
	switch k {
	case KindCommand:
		return e.Command
	case KindEligibility, KindSync:
		return e.CheckType
	default:
		return e.EventType
	}
}

// DecodeError says why a message is refused. [Decode] and [DecodePartial] return it.
type DecodeError struct {
	Reason Reason // ReasonMalformed or ReasonNoCommunity
	Field  string // the member at fault, "" for the JSON text as a whole
	Detail string // what is wrong, and what is expected instead
}

// Error returns the field, if any, and the detail.
func (e *DecodeError) Error() string {
	if e.Field == "" {
		return e.Detail
	}
	return e.Field + ": " + e.Detail
}

// maxQuoted is how many bytes of a message an error quotes at most.
const maxQuoted = 64

func malformed(field, format string, args ...any) error {
	return &DecodeError{Reason: ReasonMalformed, Field: field, Detail: fmt.Sprintf(format, args...)}
}

// Decode reads a message of kind k from JetStream. An error is always a *[DecodeError]. Decode allocates nothing,
// unless a name or an ID holds escapes.
func Decode(k Kind, body []byte) (Envelope, error) {
	e, err := decode(k, body)
	if err != nil {
		return e, err
	}
	if e.EventID == "" {
		return e, malformed("event_id", "is missing: expected a unique ID, such as a UUID")
	}
	if e.EventType == "" {
		return e, malformed("event_type", "is missing: expected a type such as interaction.create")
	}
	return e, nil
}

// DecodePartial is [Decode] for a body that may leave out event_id and event_type. The fields for a member that is left
// out are "".
func DecodePartial(k Kind, body []byte) (Envelope, error) { return decode(k, body) }

// decoder is the scanner and the fields that it has found so far.
type decoder struct {
	scanner
	e         Envelope
	body      []byte
	community string // community_id
}

// decoders reuses the scanners' stacks of names. Errors quote names, so a decoder cannot live on the goroutine's stack,
// and a new one for each message would be an allocation.
var decoders = sync.Pool{New: func() any { return new(decoder) }}

func decode(k Kind, body []byte) (Envelope, error) {
	d, _ := decoders.Get().(*decoder)
	defer d.release()
	// The scanner and the envelope share body's memory as a string, because a copy would be the hot path's largest
	// allocation. The body belongs to the message; neither arrakis nor handlers write to it.
	d.text, d.body = unsafe.String(unsafe.SliceData(body), len(body)), body //nolint:gosec // as said above
	if err := d.envelope(); err != nil {
		if de, ok := err.(*DecodeError); ok { //nolint:errorlint // made by this package, never wrapped
			return d.e, de
		}
		return d.e, malformed("", "%s", err.Error())
	}
	err := d.check(k)
	return d.e, err
}

// release puts d back into the pool, without references to the message.
func (d *decoder) release() {
	const worthKeeping = 1_024 // names; the garbage collector gets a larger stack
	names := d.names[:cap(d.names)]
	if len(names) > worthKeeping {
		names = nil
	}
	clear(names)
	*d = decoder{scanner: scanner{names: names[:0]}}
	decoders.Put(d)
}

func (d *decoder) envelope() error {
	d.space()
	if d.peek() != '{' {
		if d.pos >= len(d.text) {
			return malformed("", "the body is empty: expected a JSON object")
		}
		return malformed("", "expected a JSON object")
	}
	var o object
	for {
		name, ok, err := d.next(&o)
		if err != nil {
			return err
		}
		if !ok {
			return d.end()
		}
		if err := d.member(name); err != nil {
			return err
		}
	}
}

// member reads one member of the envelope.
func (d *decoder) member(name string) (err error) {
	switch name {
	case "event_id":
		d.e.EventID, err = d.required(name, ValidEventID, "1 to 128 visible ASCII characters")
	case "event_type":
		d.e.EventType, err = d.required(name, validEventType, "tokens of letters, digits, _ and -, joined by dots, at most 128 bytes")
	case "community_id":
		d.community, err = d.optional(name, ValidCommunity, "[A-Za-z0-9_:-]{1,128}")
	case "guild_id":
		d.e.GuildID, err = d.optional(name, ValidCommunity, "[A-Za-z0-9_:-]{1,128}")
	case "user_id":
		d.e.UserID, err = d.optional(name, ValidCommunity, "[A-Za-z0-9_:-]{1,128}")
	case "channel_id":
		_, err = d.optional(name, ValidCommunity, "[A-Za-z0-9_:-]{1,128}")
	case "check_type":
		d.e.CheckType, err = d.optional(name, ValidCommand, "[a-z0-9_-]{1,32}")
	case "timestamp":
		d.e.Timestamp, err = d.milliseconds(name)
	case "shard_id":
		_, err = d.milliseconds(name)
	case "data":
		start := d.pos
		err = d.data()
		d.e.Data = d.body[start:d.pos:d.pos]
	default:
		err = d.value()
	}
	return err
}

// data scans data for the command's name, if it is an object.
func (d *decoder) data() error {
	if d.peek() != '{' {
		return d.value()
	}
	var o object
	for {
		name, ok, err := d.next(&o)
		if err != nil || !ok {
			return err
		}
		if name == "command_name" {
			d.e.Command, err = d.optional("data.command_name", ValidCommand, "[a-z0-9_-]{1,32}")
		} else {
			err = d.value()
		}
		if err != nil {
			return err
		}
	}
}

// check checks what depends on several members or on the kind: which members are required, and which follow from
// others.
func (d *decoder) check(k Kind) error {
	e := &d.e
	if e.TenantKey = d.community; e.TenantKey == "" {
		e.TenantKey = e.GuildID
	}
	if e.TenantKey == "" {
		return &DecodeError{
			Reason: ReasonNoCommunity, Field: "community_id",
			Detail: "is missing, and guild_id is too: expected one of them",
		}
	}
	switch k {
	case KindCommand:
		return e.setCommand()
	case KindEligibility, KindSync:
		if e.CheckType == "" {
			return malformed("check_type", "is missing: expected single, batch or community_sync")
		}
	}
	return nil
}

// setCommand sets the command: the one in data, else the one in the event type.
func (e *Envelope) setCommand() error {
	if e.Command != "" {
		return nil
	}
	name, ok := strings.CutPrefix(e.EventType, "interaction.command.")
	if !ok {
		e.Command = UnknownCommand
		return nil
	}
	if !ValidCommand(name) {
		return malformed("event_type", "command %q: expected [a-z0-9_-]{1,32}", Clip(name, maxQuoted))
	}
	e.Command = name
	return nil
}

// required scans a string and returns an error unless it is valid.
func (d *decoder) required(field string, valid func(string) bool, want string) (string, error) {
	if d.peek() != '"' {
		return "", d.typeError(field, "a string: "+want)
	}
	s, err := d.unescaped()
	if err != nil {
		return "", err
	}
	if !valid(s) {
		return "", malformed(field, "%q: expected %s", Clip(s, maxQuoted), want)
	}
	return s, nil
}

// optional is like required, but also accepts null, for which it returns "".
func (d *decoder) optional(field string, valid func(string) bool, want string) (string, error) {
	if d.peek() == 'n' {
		return "", d.literal("null")
	}
	return d.required(field, valid, want)
}

// milliseconds scans an integer from 0 to 2^53. For null it returns 0.
func (d *decoder) milliseconds(field string) (int64, error) {
	const want = "an integer from 0 to 2^53"
	if d.peek() == 'n' {
		return 0, d.literal("null")
	}
	start := d.pos
	if c := d.peek(); c != '-' && (c < '0' || c > '9') {
		return 0, d.typeError(field, want)
	}
	if err := d.number(); err != nil {
		return 0, err
	}
	n, ok := natural(d.text[start:d.pos])
	if !ok || n > 1<<53 {
		return 0, malformed(field, "%s: expected %s", Clip(d.text[start:d.pos], maxQuoted), want)
	}
	return n, nil
}

// natural reads 1 to 18 digits.
func natural(s string) (n int64, ok bool) {
	if s == "" || len(s) > 18 {
		return 0, false
	}
	for i := range len(s) {
		c := s[i] - '0'
		if c > 9 {
			return 0, false
		}
		n = 10*n + int64(c)
	}
	return n, true
}

// typeError is the error for a value of the wrong type, or for text that is not JSON.
func (d *decoder) typeError(field, want string) error {
	if err := d.value(); err != nil {
		return err
	}
	return malformed(field, "expected %s", want)
}

// ValidCommunity reports whether s is a community ID: [A-Za-z0-9_:-]{1,128}.
func ValidCommunity(s string) bool { return within(s, 128, &idBytes) }

// ValidCommand reports whether s is a command name: [a-z0-9_-]{1,32}.
func ValidCommand(s string) bool { return within(s, 32, &commandBytes) }

// ValidEventID reports whether s is an event ID: 1 to 128 visible ASCII characters.
func ValidEventID(s string) bool { return within(s, 128, &visibleBytes) }

func validEventType(s string) bool {
	return within(s, 128, &typeBytes) && s[0] != '.' && s[len(s)-1] != '.' && !strings.Contains(s, "..")
}

var (
	idBytes      = byteSet("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_:-")
	commandBytes = byteSet("abcdefghijklmnopqrstuvwxyz0123456789_-")
	typeBytes    = byteSet("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-.")
	visibleBytes = func() (t [256]bool) {
		for c := '!'; c <= '~'; c++ {
			t[c] = true
		}
		return t
	}()
)

func byteSet(s string) (t [256]bool) {
	for i := range len(s) {
		t[s[i]] = true
	}
	return t
}

// within reports whether s has 1 to limit bytes, each of them in set.
func within(s string, limit int, set *[256]bool) bool {
	if s == "" || len(s) > limit {
		return false
	}
	for i := range len(s) {
		if !set[s[i]] {
			return false
		}
	}
	return true
}
