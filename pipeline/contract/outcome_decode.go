package contract

import (
	"fmt"
	"strconv"
	"unsafe"
)

// OutcomeView is the part of an [Outcome] that decides the answer to the caller. Its strings are views of the outcome's
// text.
type OutcomeView struct {
	Status    Status
	Error     Error     // zero if there is none
	RateLimit RateLimit // zero if there is none
}

// DecodeOutcome reads a published outcome. All other members, such as the result, are only checked to be JSON, as
// strictly as [Decode] does. DecodeOutcome allocates nothing, unless a string holds escapes.
func DecodeOutcome(text []byte) (v OutcomeView, err error) {
	d, _ := decoders.Get().(*decoder)
	defer d.release()
	d.text = unsafe.String(unsafe.SliceData(text), len(text)) //nolint:gosec // as in decode
	d.space()
	err = d.members(func(name string) error { return d.outcomeMember(name, &v) })
	if err == nil {
		err = d.end()
	}
	return v, err
}

func (s *scanner) outcomeMember(name string, v *OutcomeView) error {
	switch name {
	case "status":
		status, err := s.textOf(name)
		v.Status = Status(status)
		return err
	case "error":
		return s.members(func(name string) (err error) {
			switch name {
			case "code":
				var code int64
				code, err = s.integer(name)
				v.Error.Code = int(code)
			case "message":
				v.Error.Message, err = s.textOf(name)
			case "retry_after_ms":
				v.Error.RetryAfterMS, err = s.integer(name)
			default:
				err = s.value()
			}
			return err
		})
	case "rate_limit":
		return s.members(func(name string) (err error) {
			switch name {
			case "action":
				v.RateLimit.Action, err = s.textOf(name)
			case "limit":
				v.RateLimit.Limit, err = s.integer(name)
			case "remaining":
				v.RateLimit.Remaining, err = s.integer(name)
			case "reset_ms":
				v.RateLimit.ResetMS, err = s.integer(name)
			case "retry_after_ms":
				v.RateLimit.RetryAfterMS, err = s.integer(name)
			default:
				err = s.value()
			}
			return err
		})
	default:
		return s.value()
	}
}

// members calls take for each member of the object at pos; take must consume the member's value. Null counts as an
// object without members.
func (s *scanner) members(take func(name string) error) error {
	switch s.peek() {
	case 'n':
		return s.literal("null")
	case '{':
	default:
		return s.unexpected("an object")
	}
	var o object
	for {
		name, ok, err := s.next(&o)
		if err != nil || !ok {
			return err
		}
		if err := take(name); err != nil {
			return err
		}
	}
}

// textOf scans a string. For null it returns "".
func (s *scanner) textOf(member string) (string, error) {
	switch s.peek() {
	case 'n':
		return "", s.literal("null")
	case '"':
		return s.unescaped()
	default:
		return "", fmt.Errorf("member %q is not a string", member)
	}
}

// integer scans an integer of 64 bits. For null it returns 0.
func (s *scanner) integer(member string) (int64, error) {
	if s.peek() == 'n' {
		return 0, s.literal("null")
	}
	start := s.pos
	if err := s.number(); err != nil {
		return 0, err
	}
	n, err := strconv.ParseInt(s.text[start:s.pos], 10, 64)
	if err != nil {
		return 0, fmt.Errorf("member %q is not an integer of 64 bits", member)
	}
	return n, nil
}
