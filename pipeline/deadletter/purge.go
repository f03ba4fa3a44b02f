package deadletter

import (
	"context"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"arrakis/pipeline/contract"
)

// purgeTimeout bounds a purge. A purge of a full stream takes seconds.
const purgeTimeout = time.Minute

// Count counts the dead letters of a stream and a reason; "" means every stream or reason. Errors: [*QueryError].
func (s *Store) Count(ctx context.Context, stream string, reason contract.Reason) (uint64, error) {
	return s.purge(ctx, Query{Stream: stream, Reason: reason}, false)
}

// Purge deletes the dead letters that [Store.Count] counts, and returns how many there were. Dead letters that are
// written after it has counted stay. Errors: [*QueryError].
func (s *Store) Purge(ctx context.Context, stream string, reason contract.Reason) (uint64, error) {
	return s.purge(ctx, Query{Stream: stream, Reason: reason}, true)
}

func (s *Store) purge(ctx context.Context, q Query, remove bool) (uint64, error) {
	subject, err := q.subject()
	if err != nil {
		return 0, err
	}
	stream, err := s.stream(ctx)
	if err != nil {
		return 0, fmt.Errorf("count dead letters: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, purgeTimeout)
	defer cancel()
	info, err := stream.Info(ctx, jetstream.WithSubjectFilter(subject))
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
	if err := stream.Purge(ctx, jetstream.WithPurgeSubject(subject), jetstream.WithPurgeSequence(info.State.LastSeq+1)); err != nil {
		return 0, fmt.Errorf("purge dead letters: %w", err)
	}
	return count, nil
}
