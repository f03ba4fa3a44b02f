package deadletter

import (
	"context"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"arrakis/pipeline/contract"
)

// purgeTimeout bounds a purge, which takes seconds for a stream that is full.
const purgeTimeout = time.Minute

// Count is how many letters there are of a stream and a reason; "" is all of
// them. Errors: [*QueryError].
func (s *Store) Count(ctx context.Context, stream string, reason contract.Reason) (uint64, error) {
	return s.purge(ctx, Query{Stream: stream, Reason: reason}, false)
}

// Purge deletes the letters that [Store.Count] counts, and returns how many
// there were. What becomes a dead letter after it has counted stays. Errors:
// [*QueryError].
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
