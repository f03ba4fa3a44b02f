package contract

import (
	"errors"
	"fmt"
	"math/bits"
	"slices"
	"unicode/utf8"
)

// MaxDepth is how deep arrays and objects of a message may nest.
const MaxDepth = 10_000

// scanner walks one JSON text once, front to back. Every byte is checked.
type scanner struct {
	text  string
	pos   int
	depth int
	// names are the member names of all open objects, outermost first. The names of an object begin at the length that
	// names had when the object was opened.
	names []string
}

// linearNames is the member count up to which names are compared one by one. A larger object uses a map, so that
// hostile input does not cost quadratic time.
const linearNames = 16

// value skips one value of any type.
func (s *scanner) value() error {
	if s.pos >= len(s.text) {
		return errTruncated
	}
	switch c := s.text[s.pos]; c {
	case '"':
		_, _, err := s.str()
		return err
	case '{':
		return s.skipObject()
	case '[':
		return s.array()
	case 't':
		return s.literal("true")
	case 'f':
		return s.literal("false")
	case 'n':
		return s.literal("null")
	default:
		if c == '-' || '0' <= c && c <= '9' {
			return s.number()
		}
		return s.unexpected("a value")
	}
}

// object is the state of an open object. It knows where the object's names begin in scanner.names, and has a set of the
// names once there are more than linearNames.
type object struct {
	entered bool
	first   int
	marks   uint64 // one bit for each mark; a name whose bit is not set is new
	seen    map[string]struct{}
}

// mark returns one of 64 bits for a name. Equal names have the same mark.
func mark(name string) uint64 {
	n := len(name)
	if n == 0 {
		return 1
	}
	return 1 << ((uint(n)*7 + uint(name[0])*3 + uint(name[n-1])) % 64)
}

// next moves to the next member of o and leaves pos at the member's value, which the caller must consume. The first
// call enters the object. next reports false at the end of the object. Names are unescaped and unique.
func (s *scanner) next(o *object) (name string, ok bool, err error) {
	if !o.entered {
		if err := s.open(); err != nil {
			return "", false, err
		}
		o.entered, o.first = true, len(s.names)
		s.space()
		if s.accept('}') {
			s.depth--
			return "", false, nil
		}
	} else {
		s.space()
		if s.accept('}') {
			s.names = s.names[:o.first]
			s.depth--
			return "", false, nil
		}
		if !s.accept(',') {
			return "", false, s.unexpected("',' or '}'")
		}
		s.space()
	}
	if s.peek() != '"' {
		return "", false, s.unexpected("a member name")
	}
	if name, err = s.unescaped(); err != nil {
		return "", false, err
	}
	if !s.unique(o, name) {
		return "", false, fmt.Errorf("member %q is twice in one object", Clip(name, maxQuoted))
	}
	s.space()
	if !s.accept(':') {
		return "", false, s.unexpected("':'")
	}
	s.space()
	return name, true, nil
}

// unique adds name to the names of o. It reports false if o has the name already.
func (s *scanner) unique(o *object, name string) bool {
	if o.seen == nil {
		m := mark(name)
		if o.marks&m != 0 && slices.Contains(s.names[o.first:], name) {
			return false
		}
		o.marks |= m
		s.names = append(s.names, name)
		if len(s.names)-o.first > linearNames {
			o.seen = make(map[string]struct{}, 4*linearNames)
			for _, other := range s.names[o.first:] {
				o.seen[other] = struct{}{}
			}
		}
		return true
	}
	_, there := o.seen[name]
	o.seen[name] = struct{}{}
	return !there
}

// skipObject skips the object at pos.
func (s *scanner) skipObject() error {
	var o object
	for {
		if _, ok, err := s.next(&o); err != nil || !ok {
			return err
		}
		if err := s.value(); err != nil {
			return err
		}
	}
}

func (s *scanner) array() error {
	if err := s.open(); err != nil {
		return err
	}
	s.space()
	if s.accept(']') {
		s.depth--
		return nil
	}
	for {
		if err := s.value(); err != nil {
			return err
		}
		s.space()
		if s.accept(',') {
			s.space()
			continue
		}
		if !s.accept(']') {
			return s.unexpected("',' or ']'")
		}
		s.depth--
		return nil
	}
}

// open enters the array or object at pos.
func (s *scanner) open() error {
	s.pos++
	if s.depth++; s.depth > MaxDepth {
		return fmt.Errorf("nested deeper than %d", MaxDepth)
	}
	return nil
}

// special sets the high bit of each byte of w that needs attention in a string: control characters, the quote, the
// backslash, and bytes that are not ASCII. Only the lowest set bit is reliable, because a borrow runs upward.
func special(w uint64) uint64 {
	const ones, highs = 0x0101010101010101, 0x8080808080808080
	quote, backslash := w^(ones*'"'), w^(ones*'\\')
	return (w | (w-ones*' ')&^w | (quote-ones)&^quote | (backslash-ones)&^backslash) & highs
}

// str scans a string. It returns the text between the quotes, and whether the text holds escapes. It looks at eight
// bytes at a time, because most of a message is strings.
func (s *scanner) str() (raw string, escaped bool, err error) {
	text := s.text
	start := s.pos + 1
	for i := start; i < len(text); {
		if t := text[i:]; len(t) >= 8 {
			w := uint64(t[0]) | uint64(t[1])<<8 | uint64(t[2])<<16 | uint64(t[3])<<24 |
				uint64(t[4])<<32 | uint64(t[5])<<40 | uint64(t[6])<<48 | uint64(t[7])<<56
			marks := special(w)
			if marks == 0 {
				i += 8
				continue
			}
			i += bits.TrailingZeros64(marks) / 8
		}
		switch c := text[i]; {
		case c == '"':
			s.pos = i + 1
			return text[start:i], escaped, nil
		case c == '\\':
			n, err := escape(text[i:])
			if err != nil {
				s.pos = i
				return "", false, s.fault(err)
			}
			escaped = true
			i += n
		case c < ' ':
			s.pos = i
			return "", false, s.fault(errControl)
		case c < utf8.RuneSelf:
			i++
		default:
			r, n := utf8.DecodeRuneInString(text[i:])
			if r == utf8.RuneError && n == 1 {
				s.pos = i
				return "", false, s.fault(errUTF8)
			}
			i += n
		}
	}
	return "", false, errTruncated
}

// unescaped scans a string and returns its text with the escapes replaced.
func (s *scanner) unescaped() (string, error) {
	raw, escaped, err := s.str()
	if escaped {
		raw = unescape(raw)
	}
	return raw, err
}

// number scans a number by the grammar of RFC 8259, section 6.
func (s *scanner) number() error {
	s.accept('-')
	switch {
	case s.accept('0'):
	case !s.digits():
		return s.unexpected("a digit")
	}
	if s.accept('.') && !s.digits() {
		return s.unexpected("a digit")
	}
	if s.accept('e') || s.accept('E') {
		if !s.accept('+') {
			s.accept('-')
		}
		if !s.digits() {
			return s.unexpected("a digit")
		}
	}
	return nil
}

func (s *scanner) digits() bool {
	start := s.pos
	for s.pos < len(s.text) && '0' <= s.text[s.pos] && s.text[s.pos] <= '9' {
		s.pos++
	}
	return s.pos > start
}

func (s *scanner) literal(want string) error {
	if len(s.text)-s.pos < len(want) || s.text[s.pos:s.pos+len(want)] != want {
		return s.unexpected(want)
	}
	s.pos += len(want)
	return nil
}

// end returns an error if anything but white space follows.
func (s *scanner) end() error {
	s.space()
	if s.pos < len(s.text) {
		return s.fault(errTrailing)
	}
	return nil
}

func (s *scanner) space() {
	for s.pos < len(s.text) && s.text[s.pos] <= ' ' {
		if c := s.text[s.pos]; c != ' ' && c != '\n' && c != '\t' && c != '\r' {
			return
		}
		s.pos++
	}
}

// peek returns the byte at pos, or 0 at the end of the text. No token begins with 0.
func (s *scanner) peek() byte {
	if s.pos < len(s.text) {
		return s.text[s.pos]
	}
	return 0
}

func (s *scanner) accept(c byte) bool {
	if s.peek() != c {
		return false
	}
	s.pos++
	return true
}

var (
	errTruncated = errors.New("the JSON ends too early")
	errTrailing  = errors.New("bytes after the JSON value")
	errControl   = errors.New("a control character in a string")
	errUTF8      = errors.New("invalid UTF-8")
	errEscape    = errors.New("an invalid escape in a string")
	errSurrogate = errors.New("an unpaired surrogate in a string")
)

func (s *scanner) fault(err error) error { return fmt.Errorf("%w at byte %d", err, s.pos) }

func (s *scanner) unexpected(want string) error {
	if s.pos >= len(s.text) {
		return errTruncated
	}
	return fmt.Errorf("%q at byte %d where %s is expected", s.text[s.pos], s.pos, want)
}
