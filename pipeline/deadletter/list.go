package deadletter

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

const (
	// maxPage is how many bytes of bodies a page has, after which it ends early.
	maxPage = 8 << 20
	// lookTime is for how long a page looks for entries, after which it ends early.
	lookTime = 2 * time.Second
	// maxBatch is how many messages are asked for at once.
	maxBatch = 500
)

// List returns a page. It looks at messages for 2 s, or half the time that ctx leaves, and at some of them always: where
// few of many are of a community, a page is short, or empty, and Next goes on. A page also ends early when its bodies take
// more than 8 MiB. List makes a consumer of DEADLETTER for as long as it looks, and changes nothing else. Errors:
// [*QueryError].
func (s *Store) List(ctx context.Context, q Query) (Page, error) {
	if err := q.Validate(); err != nil {
		return Page{}, err
	}
	letters, err := s.stream(ctx)
	if err != nil {
		return Page{}, fmt.Errorf("list dead letters: %w", err)
	}
	q.Limit = cmp.Or(q.Limit, defaultLimit)
	look := s.lookTime
	if deadline, ok := ctx.Deadline(); ok {
		look = min(look, time.Until(deadline)/2) // what was found by then is worth more than an error
	}
	l := lister{store: s, query: &q, letters: letters, until: time.Now().Add(look)}
	list := l.oldest
	if q.Order == NewestFirst {
		list = l.newest
	}
	page, err := list(ctx)
	if err != nil {
		return Page{}, fmt.Errorf("list dead letters: %w", err)
	}
	return page, nil
}

// lister makes one page.
type lister struct {
	store   *Store
	query   *Query
	letters jetstream.Stream
	until   time.Time // when it ends the page
}

// walk looks at the messages of the query's subject from one sequence to another.
func (l *lister) walk(ctx context.Context, from, to uint64, visit func(*jetstream.RawStreamMsg) bool) error {
	batch := maxBatch
	if l.query.Community == "" && l.query.Order != NewestFirst {
		batch = min(batch, l.query.Limit+1) // every message is an entry
	}
	w := walk{store: l.store, letters: l.letters, subject: l.query.subject(), next: from, to: to, batch: batch, visit: visit}
	return w.run(ctx)
}

func (l *lister) oldest(ctx context.Context) (page Page, err error) {
	size := 0
	err = l.walk(ctx, l.query.Cursor+1, l.letters.CachedInfo().State.LastSeq, func(m *jetstream.RawStreamMsg) bool {
		if l.query.selects(m) {
			if size += len(m.Data); len(page.Entries) == l.query.Limit || len(page.Entries) > 0 && size > maxPage {
				page.Next = page.Entries[len(page.Entries)-1].Seq
				return false
			}
			page.Entries = append(page.Entries, newEntry(m))
		}
		if time.Now().After(l.until) {
			page.Next = m.Sequence
			return false
		}
		return true
	})
	return page, err
}

// JetStream reads forwards only. So for the newest first, a page is made of stretches of the stream, the last one first.
const (
	// stretch is how many sequences the first stretch has, where not every message is an entry.
	stretch = 256
	// sparse is below how many messages a stretch makes the next one longer.
	sparse = 5_000
	// dense is how many messages, and denseBytes how many bytes of bodies, a stretch may have. One with more is made shorter.
	dense      = 20_000
	denseBytes = 32 << 20
)

func (l *lister) newest(ctx context.Context) (page Page, err error) {
	state := l.letters.CachedInfo().State
	last := state.LastSeq
	if l.query.Cursor > 0 {
		last = min(last, l.query.Cursor-1)
	}
	first := max(state.FirstSeq, 1)
	length := uint64(l.query.Limit) + 1 //nolint:gosec // positive
	if l.query.Filter != (Filter{}) {
		length = max(length, stretch)
	}
	for size := 0; last >= first; {
		from := first
		if last-first >= length {
			from = last - length + 1
		}
		s := stretched{filter: &l.query.Filter, room: l.query.Limit - len(page.Entries), bytes: maxPage - size, first: len(page.Entries) == 0}
		if err := l.walk(ctx, from, last, s.visit); err != nil {
			return Page{}, err
		}
		if s.tooMany() && length > 1 {
			length = max(length/8, 1)
			continue
		}
		slices.Reverse(s.entries)
		page.Entries = append(page.Entries, s.entries...)
		size += s.size
		if s.left {
			page.Next = page.Entries[len(page.Entries)-1].Seq
			return page, nil
		}
		if s.seen < sparse {
			length *= 4
		}
		last = from - 1
		if last >= first && (len(page.Entries) == l.query.Limit || time.Now().After(l.until)) {
			page.Next = from
			return page, nil
		}
	}
	return page, nil
}

// stretched are the newest entries of a stretch.
type stretched struct {
	filter *Filter
	room   int  // how many entries it may keep
	bytes  int  // how many bytes of bodies
	first  bool // it may keep one entry whatever its size

	entries []Entry // oldest first
	size    int     // of their bodies
	left    bool    // there are older ones, for which there is no room
	seen    int     // messages
	looked  int     // bytes of their bodies
}

// tooMany reports whether the stretch is given up, because it is too long.
func (s *stretched) tooMany() bool { return s.seen > dense || s.looked > denseBytes && s.seen > 1 }

func (s *stretched) visit(m *jetstream.RawStreamMsg) bool {
	s.seen++
	if s.looked += len(m.Data); s.tooMany() {
		return false
	}
	if !s.filter.selects(m) {
		return true
	}
	s.entries, s.size = append(s.entries, newEntry(m)), s.size+len(m.Data)
	for len(s.entries) > s.room || s.size > s.bytes && (!s.first || len(s.entries) > 1) {
		s.size -= len(s.entries[0].Body) + len(s.entries[0].BodyBase64)
		s.entries, s.left = s.entries[1:], true
	}
	return true
}
