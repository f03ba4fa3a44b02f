package store

import (
	"slices"
	"strings"
)

// listing is the immutable list of IDs that a [Directory] searches. They stand in one text, so that a search reads memory
// from front to back.
type listing struct {
	ids    []string // sorted; parts of text
	text   string   // the IDs in that order, each with a newline behind it
	folded string   // text in lower case. IDs are ASCII, so places are the same in both
	more   bool     // there are more IDs than the directory keeps
}

// newListing makes a listing of ids, which may be in any order and hold an ID twice. It keeps the slice.
func newListing(ids []string) *listing {
	slices.Sort(ids)
	return listSorted(slices.Compact(ids))
}

// listSorted makes a listing of ids, which are sorted. It keeps the slice.
func listSorted(ids []string) *listing {
	l := &listing{ids: ids[:min(len(ids), MaxDirectory)], more: len(ids) > MaxDirectory}
	size := 0
	for _, id := range l.ids {
		size += len(id) + 1
	}
	var text strings.Builder
	text.Grow(size)
	for _, id := range l.ids {
		text.WriteString(id)
		text.WriteByte('\n')
	}
	l.text = text.String()
	l.folded = strings.ToLower(l.text) // the same string if there is nothing to change
	at := 0
	for i, id := range l.ids {
		l.ids[i] = l.text[at : at+len(id)]
		at += len(id) + 1
	}
	return l
}

func (l *listing) has(id string) bool {
	_, found := slices.BinarySearch(l.ids, id)
	return found
}

// own returns the listing's own copy of id if it has one, so that a list that is made to replace it needs no other.
func (l *listing) own(id string) string {
	if i, found := slices.BinarySearch(l.ids, id); found {
		return l.ids[i]
	}
	return id
}

// find returns up to limit IDs behind after that contain text, whatever the case of letters, and how many do in all. It
// looks at every ID.
func (l *listing) find(text, after string, limit int) (found []string, total int, more bool) {
	if text == "" { // every ID has it
		next, is := slices.BinarySearch(l.ids, after)
		if is {
			next++
		}
		found = slices.Clone(l.ids[next:min(next+limit, len(l.ids))])
		return found, len(l.ids), next+len(found) < len(l.ids)
	}
	if text = strings.ToLower(text); strings.Contains(text, "\n") {
		return nil, 0, false
	}
	for at := 0; ; {
		i := strings.Index(l.folded[at:], text)
		if i < 0 {
			return found, total, more
		}
		total++
		begin, end := strings.LastIndexByte(l.folded[:at+i], '\n')+1, at+i+strings.IndexByte(l.folded[at+i:], '\n')
		at = end + 1
		switch id := l.text[begin:end]; {
		case id <= after:
		case len(found) < limit:
			found = append(found, id)
		default:
			more = true
		}
	}
}

// with returns a listing that has the IDs of stored, or does not have them, as it says. It returns l itself if that
// changes nothing.
func (l *listing) with(stored map[string]bool) *listing {
	var added []string
	removed := false
	for id, exists := range stored {
		switch had := l.has(id); {
		case exists && !had:
			added = append(added, id)
		case !exists && had:
			removed = true
		}
	}
	if len(added) == 0 && !removed {
		return l
	}
	slices.Sort(added)
	ids := make([]string, 0, len(l.ids)+len(added))
	for _, id := range l.ids {
		for len(added) > 0 && added[0] < id {
			ids, added = append(ids, added[0]), added[1:]
		}
		if exists, told := stored[id]; !told || exists {
			ids = append(ids, id)
		}
	}
	next := listSorted(append(ids, added...))
	next.more = next.more || l.more
	return next
}
