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
)

const (
	// MaxLimit is the largest page of a List.
	MaxLimit = 1000

	defaultLimit = 100
	maxPage      = 8 << 20 // bytes of bodies, above which a page ends early
	// timeout bounds one request to JetStream.
	timeout = 5 * time.Second
)

// ErrNotFound means that there is no dead letter of that sequence: it was
// never there, has been replayed or purged, or has become too old.
var ErrNotFound = errors.New("no such dead letter")

// QueryError says what is wrong with a [Query].
type QueryError struct {
	Field  string // limit, stream or reason
	Reason string // what would be right
}

func (e *QueryError) Error() string { return e.Field + ": " + e.Reason }

// Query asks for a page. The zero value is the first one.
type Query struct {
	// After is the sequence after which the page begins. Defaults to 0: the
	// oldest dead letter.
	After uint64
	// Limit is how many entries are wanted at most, 1 to MaxLimit. Defaults to 100.
	Limit int
	// Stream selects the letters of one stream. Defaults to all.
	Stream string
	// Reason selects the letters of one reason. Defaults to all.
	Reason contract.Reason
}

// Page is a part of the dead letters, oldest first.
type Page struct {
	Entries []Entry
	// Next is the After of the next page; 0: this is the last.
	Next uint64
}

// Store is where dead letters are kept: the JetStream stream DEADLETTER. It is safe for concurrent use.
type Store struct {
	js jetstream.JetStream
}

// New returns the dead letters of js, which may be away.
func New(js jetstream.JetStream) *Store { return &Store{js: js} }

// List returns a page. It costs a request to JetStream for each letter, takes
// no consumer and changes nothing. A page ends early when its bodies come to
// more than 8 MiB. Errors: [*QueryError].
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
	for next := q.After + 1; next > 0; { // not after the last sequence there can be
		m, err := message(ctx, stream, next, jetstream.WithGetMsgSubject(subject))
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

// Get returns the letter at seq, with its headers. Errors: [ErrNotFound].
func (s *Store) Get(ctx context.Context, seq uint64) (Entry, error) {
	_, m, err := s.get(ctx, seq)
	if err != nil {
		return Entry{}, fmt.Errorf("dead letter %d: %w", seq, err)
	}
	letter := newEntry(m)
	letter.Headers = m.Header
	return letter, nil
}

// get reads the message at seq, and returns the stream for more to be done there.
func (s *Store) get(ctx context.Context, seq uint64) (jetstream.Stream, *jetstream.RawStreamMsg, error) {
	if seq == 0 {
		return nil, nil, ErrNotFound // JetStream counts from 1, and takes 0 for no sequence
	}
	stream, err := s.stream(ctx)
	if err != nil {
		return nil, nil, err
	}
	m, err := message(ctx, stream, seq)
	return stream, m, err
}

// Validate reports what is wrong with q: a [*QueryError], or nil.
func (q *Query) Validate() error {
	_, err := q.subject()
	return err
}

// subject is what the letters asked for are stored under.
func (q *Query) subject() (string, error) {
	if q.Limit < 0 || q.Limit > MaxLimit {
		return "", &QueryError{"limit", fmt.Sprintf("must be from 1 to %d", MaxLimit)}
	}
	if streams := contract.Streams(); q.Stream != "" && !slices.Contains(streams, q.Stream) {
		return "", &QueryError{"stream", oneOf(streams)}
	}
	if reasons := contract.Reasons(); q.Reason != "" && !slices.Contains(reasons, q.Reason) {
		return "", &QueryError{"reason", oneOf(reasons)}
	}
	if q.Stream == "" && q.Reason == "" {
		return "deadletter.>", nil
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

// stream looks the stream up, or says at once that NATS is away: a request
// would wait for its time-out, and a publish would be sent much later.
func (s *Store) stream(ctx context.Context) (jetstream.Stream, error) {
	if !s.js.Conn().IsConnected() {
		return nil, nats.ErrDisconnected
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	return s.js.Stream(ctx, contract.StreamDeadLetter)
}

// message reads the message at seq, or with options another.
func message(ctx context.Context, s jetstream.Stream, seq uint64, o ...jetstream.GetMsgOpt) (*jetstream.RawStreamMsg, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	m, err := s.GetMsg(ctx, seq, o...)
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
