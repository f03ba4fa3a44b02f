package deadletter

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"arrakis/pipeline/contract"
	"arrakis/pipeline/streams"
)

// timeout bounds one request to JetStream.
const timeout = 5 * time.Second

// ErrNotFound means that there is no dead letter with that sequence. It was replayed or purged, became too old, or
// never existed.
var ErrNotFound = errors.New("no such dead letter")

// Store gives access to the dead letters in the JetStream stream DEADLETTER. It is safe for concurrent use.
type Store struct {
	js       jetstream.JetStream
	lookTime time.Duration // see List
}

// New returns a Store on js. NATS may be away.
func New(js jetstream.JetStream) *Store { return &Store{js: js, lookTime: lookTime} }

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

// Delete deletes the dead letter at seq for good. Errors: [ErrNotFound].
func (s *Store) Delete(ctx context.Context, seq uint64) error {
	letters, _, err := s.get(ctx, seq)
	if err == nil {
		err = s.remove(context.WithoutCancel(ctx), letters, seq)
	}
	if err != nil {
		return fmt.Errorf("delete dead letter %d: %w", seq, err)
	}
	return nil
}

// get reads the dead letter at seq. It also returns the stream, for further requests.
func (s *Store) get(ctx context.Context, seq uint64) (jetstream.Stream, *jetstream.RawStreamMsg, error) {
	if seq == 0 {
		return nil, nil, ErrNotFound // JetStream's sequences start at 1; 0 means none
	}
	stream, err := s.stream(ctx)
	if err != nil {
		return nil, nil, err
	}
	m, err := s.message(ctx, stream, seq, "")
	if err == nil && !isLetter(m.Subject) {
		err = ErrNotFound
	}
	return stream, m, err
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
