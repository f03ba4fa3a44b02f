package deadletter

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"arrakis/pipeline/contract"
	"arrakis/pipeline/streams"
)

const (
	// MaxLimit is the largest page of a List.
	MaxLimit = 1000

	defaultLimit = 100
	maxPage      = 8 << 20 // bytes of bodies above which a page ends early
	// timeout bounds one request to JetStream.
	timeout = 5 * time.Second
)

// ErrNotFound means that there is no dead letter with that sequence. It was replayed or purged, became too old, or
// never existed.
var ErrNotFound = errors.New("no such dead letter")

// QueryError is a fault of a [Query].
type QueryError struct {
	Field  string // limit, stream or reason
	Reason string // what is expected
}

func (e *QueryError) Error() string { return e.Field + ": " + e.Reason }

// Query asks for a page. The zero value asks for the first page.
type Query struct {
	// After is the sequence after which the page begins. Defaults to 0: the oldest dead letter.
	After uint64
	// Limit is the largest number of entries on the page, 1 to MaxLimit. Defaults to 100.
	Limit int
	// Stream selects the dead letters of one stream. Defaults to all.
	Stream string
	// Reason selects the dead letters of one reason. Defaults to all.
	Reason contract.Reason
}

// Page is a part of the dead letters, oldest first.
type Page struct {
	Entries []Entry
	// Next is the After of the next page. It is 0 on the last page.
	Next uint64
}

// Store gives access to the dead letters in the JetStream stream DEADLETTER. It is safe for concurrent use.
type Store struct {
	js jetstream.JetStream
}

// New returns a Store on js. NATS may be away.
func New(js jetstream.JetStream) *Store { return &Store{js: js} }

// List returns a page. It makes one request to JetStream for each dead letter, needs no consumer and changes nothing. A
// page ends early when its bodies take more than 8 MiB. Errors: [*QueryError].
func (s *Store) List(ctx context.Context, q Query) (Page, error) {
	subject, err := q.subject()
	if err != nil {
		return Page{}, err
	}
	stream, err := s.stream(ctx)
	if err != nil {
		return Page{}, fmt.Errorf("list dead letters: %w", err)
	}
	limit := cmp.Or(q.Limit, defaultLimit)
	page, size := Page{}, 0
	for next := q.After + 1; next > 0; { // 0 after the largest possible sequence
		m, err := s.message(ctx, stream, next, subject)
		if errors.Is(err, ErrNotFound) {
			return page, nil
		}
		if err != nil {
			return Page{}, fmt.Errorf("list dead letters: %w", err)
		}
		if size += len(m.Data); len(page.Entries) == limit || len(page.Entries) > 0 && size > maxPage {
			page.Next = page.Entries[len(page.Entries)-1].Seq
			return page, nil
		}
		page.Entries = append(page.Entries, newEntry(m))
		next = m.Sequence + 1
	}
	return page, nil
}

// Get returns the dead letter at seq, with its headers. Errors: [ErrNotFound].
func (s *Store) Get(ctx context.Context, seq uint64) (Entry, error) {
	_, m, err := s.get(ctx, seq)
	if err != nil {
		return Entry{}, fmt.Errorf("dead letter %d: %w", seq, err)
	}
	e := newEntry(m)
	e.Headers = m.Header
	return e, nil
}

// get reads the message at seq. It also returns the stream, for further requests.
func (s *Store) get(ctx context.Context, seq uint64) (jetstream.Stream, *jetstream.RawStreamMsg, error) {
	if seq == 0 {
		return nil, nil, ErrNotFound // JetStream's sequences start at 1; 0 means none
	}
	stream, err := s.stream(ctx)
	if err != nil {
		return nil, nil, err
	}
	m, err := s.message(ctx, stream, seq, "")
	return stream, m, err
}

// Validate reports what is wrong with q: a [*QueryError], or nil.
func (q *Query) Validate() error {
	_, err := q.subject()
	return err
}

// subject is the subject of the dead letters that q selects, with wildcards.
func (q *Query) subject() (string, error) {
	if q.Limit < 0 || q.Limit > MaxLimit {
		return "", &QueryError{"limit", fmt.Sprintf("must be from 1 to %d", MaxLimit)}
	}
	if known := contract.Streams(); q.Stream != "" && !slices.Contains(known, q.Stream) {
		return "", &QueryError{"stream", oneOf(known)}
	}
	if reasons := contract.Reasons(); q.Reason != "" && !slices.Contains(reasons, q.Reason) {
		return "", &QueryError{"reason", oneOf(reasons)}
	}
	if q.Stream == "" && q.Reason == "" {
		return "deadletter.*.*", nil // not the marks of replays
	}
	return contract.DeadLetterSubject(cmp.Or(q.Stream, "*"), cmp.Or(q.Reason, "*")), nil
}

func oneOf[S ~string](values []S) string {
	names := make([]string, len(values))
	for i, v := range values {
		names[i] = string(v)
	}
	return "must be one of " + strings.Join(names, ", ")
}

// stream looks the stream up. While NATS is away it returns an error at once: a request would wait for its time-out,
// and a publish would be sent much later.
func (s *Store) stream(ctx context.Context) (jetstream.Stream, error) {
	if !s.js.Conn().IsConnected() {
		return nil, nats.ErrDisconnected
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	return s.js.Stream(ctx, contract.StreamDeadLetter)
}

// message reads the message of a stream at seq. If subject is not "", it reads the first one on it from seq on.
func (s *Store) message(ctx context.Context, stream jetstream.Stream, seq uint64, subject string) (*jetstream.RawStreamMsg, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	m, err := streams.Read(ctx, s.js, stream.CachedInfo().Config.Name, seq, subject)
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return nil, ErrNotFound
	}
	return m, err
}

func (s *Store) publish(ctx context.Context, m *nats.Msg, o ...jetstream.PublishOpt) (*jetstream.PubAck, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	return s.js.PublishMsg(ctx, m, o...)
}
