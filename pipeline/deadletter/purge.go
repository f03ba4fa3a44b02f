package deadletter

import (
	"context"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// purgeTimeout bounds a purge. A purge of a full stream takes seconds.
const purgeTimeout = time.Minute

// Count counts the dead letters that a filter selects. For a filter with a community it looks at each dead letter of
// the stream and reason, until ctx ends. Errors: [*QueryError].
func (s *Store) Count(ctx context.Context, f Filter) (uint64, error) {
	if f.Community == "" {
		return s.purge(ctx, f, false)
	}
	if err := f.Validate(); err != nil {
		return 0, err
	}
	letters, err := s.stream(ctx)
	if err != nil {
		return 0, fmt.Errorf("count dead letters: %w", err)
	}
	var n uint64
	w := walk{
		store: s, letters: letters, subject: f.subject(), next: 1, to: letters.CachedInfo().State.LastSeq, batch: maxBatch,
		visit: func(m *jetstream.RawStreamMsg) bool {
			if f.selects(m) {
				n++
			}
			return true
		},
	}
	if err := w.run(ctx); err != nil {
		return 0, fmt.Errorf("count dead letters: %w", err)
	}
	return n, nil
}

// purge counts the dead letters of a stream and a reason, and deletes them all at once if remove is set. Dead letters
// that are written after it has counted stay. If ctx ends while they are deleted, it still waits until that is done.
func (s *Store) purge(ctx context.Context, f Filter, remove bool) (uint64, error) {
	if err := f.Validate(); err != nil {
		return 0, err
	}
	subject := f.subject()
	stream, err := s.stream(ctx)
	if err != nil {
		return 0, fmt.Errorf("count dead letters: %w", err)
	}
	counting, stop := context.WithTimeout(ctx, purgeTimeout)
	defer stop()
	info, err := stream.Info(counting, jetstream.WithSubjectFilter(subject))
	if err != nil {
		return 0, fmt.Errorf("count dead letters: %w", err)
	}
	var count uint64
	for _, n := range info.State.Subjects {
		count += n
	}
	if !remove || count == 0 {
		return count, nil
	}
	purging, stop := context.WithTimeout(context.WithoutCancel(ctx), purgeTimeout)
	defer stop()
	if err := stream.Purge(purging, jetstream.WithPurgeSubject(subject), jetstream.WithPurgeSequence(info.State.LastSeq+1)); err != nil {
		return 0, fmt.Errorf("purge dead letters: %w", err)
	}
	return count, nil
}
