package tenant

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

const (
	// MaxDocument is the size in bytes of the largest config, flag or tiers
	// document. A larger one is refused from a user and is bad in Redis.
	MaxDocument = 64 << 10

	maxDepth  = 32 // nesting of a document
	maxFaults = 20 // faults that one error names
)

// FieldError is one fault of a document that a user gave or that Redis holds.
// A function that finds several returns them joined.
type FieldError struct {
	Field  string // dotted path such as "rateLimits.commandsPerMinute"; empty for the whole document
	Reason string // what is wrong and what would be right
}

func (e *FieldError) Error() string {
	if e.Field == "" {
		return e.Reason
	}
	return e.Field + ": " + e.Reason
}

// faults collects the faults of one document, the first of each field.
type faults struct {
	list []*FieldError
	more int // faults beyond maxFaults
}

func (f *faults) add(field, format string, args ...any) {
	if slices.ContainsFunc(f.list, func(e *FieldError) bool { return e.Field == field }) {
		return
	}
	if len(f.list) == maxFaults {
		f.more++
		return
	}
	f.list = append(f.list, &FieldError{Field: field, Reason: fmt.Sprintf(format, args...)})
}

// err joins the faults. It is nil when there are none.
func (f *faults) err() error {
	if len(f.list) == 0 {
		return nil
	}
	errs := make([]error, 0, len(f.list)+1)
	for _, e := range f.list {
		errs = append(errs, e)
	}
	if f.more > 0 {
		errs = append(errs, fmt.Errorf("and %d more faults", f.more))
	}
	return errors.Join(errs...)
}

// reader decodes one document, member by member, so that it can name every
// fault at once and not only the first.
type reader struct {
	faults
	// strict refuses members that arrakis does not know. Without it, for
	// documents in Redis, they are kept, and timestamps that are not RFC 3339
	// are passed over: other writers share these keys.
	strict bool
}

// member is one known member of an object and how its value is read.
type member struct {
	name string
	read func(field string, raw jsontext.Value)
}

// check reports whether data is one JSON object within the bounds. A duplicate
// name is a fault with which reading can go on; any other is not.
func (r *reader) check(data []byte) bool {
	if len(data) > MaxDocument {
		r.add("", "holds %d bytes, at most %d are accepted", len(data), MaxDocument)
		return false
	}
	dec := jsontext.NewDecoder(bytes.NewBuffer(data))
	for read := 0; ; read++ {
		if dec.StackDepth() == 0 && read > 0 {
			break
		}
		if dec.StackDepth() > maxDepth {
			r.add("", "is nested deeper than %d levels", maxDepth)
			return false
		}
		if _, err := dec.ReadToken(); err != nil {
			return r.syntax(err)
		}
	}
	if _, err := dec.ReadToken(); !errors.Is(err, io.EOF) {
		r.add("", "has something after the JSON object; give one object only")
		return false
	}
	if jsontext.Value(data).Kind() != '{' {
		r.add("", "must be a JSON object")
		return false
	}
	return true
}

// syntax adds the fault of err. It reports whether reading can go on.
func (r *reader) syntax(err error) bool {
	syntactic, ok := errors.AsType[*jsontext.SyntacticError](err)
	switch {
	case !ok:
		r.add("", "is not JSON: it ends too early")
	case errors.Is(err, jsontext.ErrDuplicateName):
		var path []string
		for token := range syntactic.JSONPointer.Tokens() {
			path = append(path, shorten(token))
		}
		r.add(strings.Join(path, "."), "is given twice; keep one")
		return r.strict
	default:
		r.add("", "is not JSON: %v at byte %d", syntactic.Err, syntactic.ByteOffset)
	}
	return false
}

// object reads the members of raw and returns those it does not know as an
// object of their own, nil if there are none. A strict reader refuses them.
func (r *reader) object(field string, raw jsontext.Value, members []member) (unknown jsontext.Value) {
	if raw.Kind() != '{' {
		r.add(field, "must be a JSON object")
		return nil
	}
	dec := jsontext.NewDecoder(bytes.NewBuffer(raw), jsontext.AllowDuplicateNames(true))
	if _, err := dec.ReadToken(); err != nil {
		r.syntax(err)
		return nil
	}
	for dec.PeekKind() != '}' {
		token, err := dec.ReadToken()
		if err != nil {
			r.syntax(err)
			return nil
		}
		name := token.String()
		value, err := dec.ReadValue()
		if err != nil {
			r.syntax(err)
			return nil
		}
		i := slices.IndexFunc(members, func(m member) bool { return m.name == name })
		switch {
		case i >= 0:
			members[i].read(join(field, name), value)
		case r.strict:
			r.add(join(field, shorten(name)), "is unknown; known are %s", known(members))
		default:
			unknown = appendMember(unknown, name, value)
		}
	}
	if unknown != nil {
		unknown = append(unknown, '}')
	}
	return unknown
}

// appendMember adds a member to the text of an object that is still open.
func appendMember(object jsontext.Value, name string, value jsontext.Value) jsontext.Value {
	if object == nil {
		object = append(object, '{')
	} else {
		object = append(object, ',')
	}
	// The name was read from valid JSON, so that quoting it cannot fail.
	object, _ = jsontext.AppendQuote(object, name)
	object = append(object, ':')
	return append(object, value...)
}

// value reads a member into p: null is the zero value, anything but T a
// fault that says what must be there.
func value[T any](r *reader, p *T, must string) func(string, jsontext.Value) {
	return func(field string, raw jsontext.Value) {
		var zero T
		*p = zero
		if raw.Kind() == 'n' {
			return
		}
		if err := json.Unmarshal(raw, p); err != nil {
			*p = zero
			r.add(field, "must be %s", must)
		}
	}
}

func (r *reader) text(p *string) func(string, jsontext.Value) { return value(r, p, "a string") }

func (r *reader) texts(p *[]string) func(string, jsontext.Value) {
	return value(r, p, "a list of strings")
}

func (r *reader) boolean(p *bool) func(string, jsontext.Value) { return value(r, p, "true or false") }

func (r *reader) feature(p **bool) func(string, jsontext.Value) {
	return value(r, p, "true, false or null (the tier's default)")
}

func (r *reader) limit(p **int64) func(string, jsontext.Value) {
	return value(r, p, "a whole number or null (the tier's default)")
}

func (r *reader) number(p **float64) func(string, jsontext.Value) { return value(r, p, "a number") }

func (r *reader) time(p *time.Time) func(string, jsontext.Value) {
	if !r.strict {
		r = &reader{} // its faults go nowhere
	}
	return value(r, p, "an RFC 3339 time such as 2026-01-31T12:00:00Z")
}

func known(members []member) string {
	names := make([]string, len(members))
	for i, m := range members {
		names[i] = m.name
	}
	return strings.Join(names, ", ")
}

func join(field, name string) string {
	if field == "" {
		return name
	}
	return field + "." + name
}

// shorten keeps what others wrote from filling an error or a log line.
func shorten(s string) string {
	const most = 64
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "..."
}
