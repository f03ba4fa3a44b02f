package tenant

import (
	"maps"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// readMap decodes an object whose members are entries of a map. As in a merge patch, other entries stay, and null removes
// an entry, or all. A member that is given makes a map that is not nil. The map that was there stays as it is, because
// another document may share it.
func readMap[V any](r *reader, dec *jsontext.Decoder, p *map[string]V) error {
	switch field := fieldAt(dec.StackPointer()); dec.PeekKind() {
	case '{':
	case 'n':
		*p = make(map[string]V)
		return dec.SkipValue()
	default:
		r.add(field, "must be a JSON object")
		return dec.SkipValue()
	}
	was := *p
	*p = maps.Clone(was)
	if *p == nil {
		*p = make(map[string]V)
	}
	if _, err := dec.ReadToken(); err != nil {
		return err
	}
	for dec.PeekKind() != '}' {
		name, err := dec.ReadToken()
		if err != nil {
			return err
		}
		key := name.String() // the token is valid until the next is read
		if dec.PeekKind() == 'n' {
			delete(*p, key)
			if err := dec.SkipValue(); err != nil {
				return err
			}
			continue
		}
		v := was[key]
		if err := json.UnmarshalDecode(dec, &v); err != nil {
			return err
		}
		(*p)[key] = v
	}
	_, err := dec.ReadToken()
	return err
}
