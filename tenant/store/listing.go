package store

import (
	"slices"
	"strings"
)

// listing is the immutable list of IDs that a [Directory] searches.
type listing struct {
	ids    []string // sorted
	folded []string // the same in lower case; the same slice if no ID has an upper-case letter
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
	l.folded = l.ids
	for i, id := range l.ids {
		lower := strings.ToLower(id) // the same string if there is nothing to change
		if lower != id && &l.folded[0] == &l.ids[0] {
			l.folded = slices.Clone(l.ids)
		}
		if lower != id {
			l.folded[i] = lower
		}
	}
	return l
}

func (l *listing) has(id string) bool {
	_, found := slices.BinarySearch(l.ids, id)
	return found
}

// own returns the listing's own copy of id if it has one, so that a list that replaces it shares its memory.
func (l *listing) own(id string) string {
	if i, found := slices.BinarySearch(l.ids, id); found {
		return l.ids[i]
	}
	return id
}

// find returns up to limit IDs behind after that contain text, whatever the case of letters, and how many do in all. It
// looks at every ID: a million of them take some 20 ms.
func (l *listing) find(text, after string, limit int) (found []string, total int, more bool) {
	text = strings.ToLower(text)
	for i, id := range l.folded {
		if !strings.Contains(id, text) {
			continue
		}
		total++
		switch {
		case l.ids[i] <= after:
		case len(found) < limit:
			found = append(found, l.ids[i])
		default:
			more = true
		}
	}
	return found, total, more
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
