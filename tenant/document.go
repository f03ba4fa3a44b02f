package tenant

import (
	"bytes"
	"errors"
	"maps"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

const (
	// MaxDocument is the size in bytes of the largest config, flag or tiers document. A larger document from a user is
	// refused; a larger document in a store cannot be used.
	MaxDocument = 64 << 10

	maxDepth = 32 // nesting of a document

	timeRule = "must be an RFC 3339 time such as 2026-01-31T12:00:00Z"
)

// writable reports whether t can be written as an RFC 3339 time.
func writable(t time.Time) bool {
	y := t.UTC().Year()
	return y >= 1 && y <= 9999
}

// document is a Config, Account, Flag or Tiers. The document and its objects have a field Unknown.
type document interface {
	validate(*faults)
}

// ParseStored reads a document that a store holds. Other writers may have added members, which are kept in Unknown, and
// timestamps that are not RFC 3339, which are ignored. All other faults are refused, as by the strict parsers.
func ParseStored[T Config | Account | Flag | Tiers](data []byte) (T, error) {
	return parse[T](data, false)
}

func parse[T any](data []byte, strict bool) (T, error) {
	var doc, none T
	if err := read(data, any(&doc).(document), strict); err != nil {
		return none, err
	}
	return doc, nil
}

// validate reports the faults of a document that was not parsed.
func validate(doc document) error {
	var f faults
	doc.validate(&f)
	return f.err()
}

// reader decodes one document with package json. Package json stops at a value of the wrong type or at an unknown
// member; the reader continues, so that it names every fault and not only the first.
type reader struct {
	faults
	// strict refuses members that arrakis does not know, and timestamps of the document that are not RFC 3339. Other
	// writers may put both into a store.
	strict bool
	inside any // the object that the method members is decoding
	hook   json.Options
}

// readers are reused, because the hook caches the types that it has seen.
var readers = sync.Pool{New: func() any {
	r := new(reader)
	r.hook = json.WithUnmarshalers(json.UnmarshalFromFunc(r.value))
	return r
}}

// read decodes data into doc and validates doc. Fields of doc stay unchanged if data has no member for them.
func read(data []byte, doc document, strict bool) error {
	r := readers.Get().(*reader)
	defer readers.Put(r)
	*r = reader{strict: strict, hook: r.hook}
	if r.check(data) {
		// AllowDuplicateNames, because check has already reported the first duplicate.
		if err := json.Unmarshal(data, doc, r.hook, jsontext.AllowDuplicateNames(true)); err != nil {
			r.syntax(err)
		} else {
			doc.validate(&r.faults)
		}
	}
	return r.err()
}

// check checks size, depth and syntax. It reports whether decoding can find more faults.
func (r *reader) check(data []byte) bool {
	if len(data) > MaxDocument {
		r.add("", "holds %d bytes, at most %d are accepted", len(data), MaxDocument)
		return false
	}
	dec := jsontext.NewDecoder(bytes.NewReader(data))
	for depth := 1; depth > 0; depth = dec.StackDepth() {
		if depth > maxDepth {
			r.add("", "is nested deeper than %d levels", maxDepth)
			return false
		}
		if _, err := dec.ReadToken(); err != nil {
			return r.syntax(err)
		}
	}
	if jsontext.Value(data).Kind() != '{' {
		r.add("", "must be a JSON object")
		return false
	}
	return true
}

// syntax adds the fault of err. It reports whether decoding can find more faults. It can only after a duplicate name.
func (r *reader) syntax(err error) bool {
	syntactic, ok := errors.AsType[*jsontext.SyntacticError](err)
	switch {
	case !ok:
		r.add("", "is not JSON: it ends too early")
	case errors.Is(err, jsontext.ErrDuplicateName):
		r.add(fieldAt(syntactic.JSONPointer), "is given twice; keep one")
		return r.strict
	default:
		r.add("", "is not JSON: %v at byte %d", syntactic.Err, syntactic.ByteOffset)
	}
	return false
}

// value decodes the next value into p, which points to a document or a part of a document. null sets the zero value.
func (r *reader) value(dec *jsontext.Decoder, p any) error {
	if boosts, ok := p.(**BoostOverrides); ok {
		*boosts = (*boosts).clone() // another document may share them
		err := r.members(dec, *boosts)
		if (*boosts).IsZero() {
			*boosts = nil
		}
		return err
	}
	switch m := p.(type) {
	case *map[string]Tier:
		return readMap(r, dec, m)
	case *map[string]Entitlement:
		return readMap(r, dec, m)
	case *Texts:
		return readMap(r, dec, (*map[string]map[string]string)(m))
	case *map[string]string:
		return readMap(r, dec, m)
	}
	must := mustBe(p)
	if must == "" {
		return r.members(dec, p)
	}
	raw, err := dec.ReadValue()
	if err != nil {
		return err
	}
	v := reflect.ValueOf(p).Elem()
	v.SetZero() // json would write through a pointer that another document may share
	if err := json.Unmarshal(raw, p); err != nil {
		v.SetZero()
		field := fieldAt(dec.StackPointer())
		// createdAt and updatedAt of another writer may be anything; a time inside an object says how long something holds.
		if _, isTime := p.(*time.Time); r.strict || !isTime || strings.Contains(field, ".") {
			r.add(field, "must be %s", must)
		}
	}
	return nil
}

// mustBe describes the JSON that is expected for a value. It is empty for an object.
func mustBe(p any) string {
	switch p.(type) {
	case *string:
		return "a string"
	case *Tier:
		return "a string: " + tierNames
	case *Source:
		return "a string: " + string(FromEntitlement)
	case *bool:
		return "true or false"
	case **bool:
		return "true, false or null (the tier's default)"
	case **int64:
		return "a whole number or null (the tier's default)"
	case **OnLimit:
		return "a string: " + onLimitNames
	case *int64:
		return "a whole number"
	case *Counting:
		return "a string: " + countingNames
	case **Mode:
		return "a string: " + modeNames
	case **float64:
		return "a number"
	case *[]string:
		return "a list of strings"
	case *[]Tier:
		return "a list of tiers"
	case *time.Time:
		return strings.TrimPrefix(timeRule, "must be ")
	}
	return ""
}

// members decodes an object into the struct at p. Package json collects the members that the struct does not have in
// Unknown; a strict reader refuses these members and leaves Unknown unchanged.
func (r *reader) members(dec *jsontext.Decoder, p any) error {
	if r.inside == p {
		r.inside = nil
		return errors.ErrUnsupported // UnmarshalDecode below called the hook again; it continues without the hook
	}
	v := reflect.ValueOf(p).Elem()
	unknown := v.FieldByName("Unknown").Addr().Interface().(*jsontext.Value)
	was, field := *unknown, fieldAt(dec.StackPointer())
	switch dec.PeekKind() {
	case '{':
		*unknown, r.inside = nil, p
		if err := json.UnmarshalDecode(dec, p); err != nil {
			return err
		}
		if r.strict {
			r.refuse(field, *unknown, v.Type())
			*unknown = was
		}
		if b, ok := p.(*BoostOverride); ok {
			b.validate(&r.faults, field) // here, because an empty object is no boost afterwards
		}
		return nil
	case 'n':
		v.SetZero()
		*unknown = was
	default:
		if o, ok := p.(*OnLimitOverrides); ok {
			return o.read(dec, &r.faults, field)
		}
		r.add(field, "must be a JSON object")
	}
	return dec.SkipValue()
}

// refuse adds a fault for each unknown member of the object at field. The object is decoded into a struct of type t.
func (r *reader) refuse(field string, unknown jsontext.Value, t reflect.Type) {
	if unknown == nil {
		return
	}
	var members map[string]jsontext.Value
	if err := json.Unmarshal(unknown, &members, jsontext.AllowDuplicateNames(true)); err != nil {
		r.syntax(err)
		return
	}
	var known []string
	for f := range t.Fields() {
		if name, _, _ := strings.Cut(f.Tag.Get("json"), ","); name != "" {
			known = append(known, name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(members)) {
		r.add(join(field, shorten(name)), "is unknown; known are %s", strings.Join(known, ", "))
	}
}

// fieldAt returns the dotted path for a JSON pointer.
func fieldAt(p jsontext.Pointer) string {
	var path []string
	for token := range p.Tokens() {
		path = append(path, shorten(token))
	}
	return strings.Join(path, ".")
}

func join(field, name string) string {
	if field == "" {
		return name
	}
	return field + "." + name
}
