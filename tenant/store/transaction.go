package store

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/redis/go-redis/v9"

	"arrakis/tenant"
)

// remove is the decision to delete a document if it has the version ifMatch. If ifMatch is empty, any version is
// deleted.
func remove(ifMatch Version) Decision {
	return func(current Stored, _ time.Time) (string, error) {
		switch {
		case !current.Exists() && ifMatch == "":
			return "", ErrNotFound
		case !current.Exists():
			return "", fmt.Errorf("%w: it is gone already", ErrConflict)
		case ifMatch != "" && ifMatch != current.Version:
			return "", fmt.Errorf("%w: read it again before deleting it", ErrConflict)
		}
		return "", nil
	}
}

// maxAttempts bounds how often a write starts again because another writer was faster. Of n concurrent writers, one
// wins in each round.
const maxAttempts = 100

// write stores the text that decide makes of the document, adds the change to the audit log, and announces it. It
// returns the version of the text. Without a system of record it does all of it in one transaction of Redis, but on
// Cluster one after the other.
func (s *Store) write(ctx context.Context, n Name, decide Decision) (Version, error) {
	for attempt := range maxAttempts {
		v, err := s.try(ctx, n, decide)
		if !errors.Is(err, ErrRaced) {
			return v, err
		}
		if err := pause(ctx, attempt); err != nil {
			return "", err
		}
	}
	return "", fmt.Errorf("%w: %d times in a row; try again", ErrConflict, maxAttempts)
}

// try writes once. It returns ErrRaced if another writer was faster.
func (s *Store) try(ctx context.Context, n Name, decide Decision) (Version, error) {
	if s.system != nil {
		return s.system.Write(ctx, Change{Name: n, Decide: decide, Entry: func(before, after string) AuditEntry {
			return s.signed(ctx, n.entry(before, after))
		}})
	}
	before, after, err := s.attempt(ctx, n, decide)
	switch {
	case errors.Is(err, redis.TxFailedErr):
		return "", ErrRaced
	case err != nil:
		return "", err
	case s.cluster:
		if err := s.tell(ctx, n.entry(before, after), n.event()); err != nil {
			return "", fmt.Errorf("the document is stored, but other processes do not know it yet, or the audit log does not have it; run a reload: %w", err)
		}
	}
	return versionOf(after), nil
}

// attempt is one transaction of write. It returns the texts of the document before and after. Redis refuses the
// transaction with TxFailedErr if the document has changed since it was read.
func (s *Store) attempt(ctx context.Context, n Name, decide Decision) (before, after string, err error) {
	loc, watched := n.location(), []string{n.location().key}
	if s.cluster { // its key may be on another node, so it is not watched
		if err := elsewhere(s.rdb.Get(ctx, RecordKey)); err != nil {
			return "", "", err
		}
	} else {
		watched = append(watched, RecordKey)
	}
	err = s.rdb.Watch(ctx, func(tx *redis.Tx) error {
		if !s.cluster {
			if err := elsewhere(tx.Get(ctx, RecordKey)); err != nil {
				return err
			}
		}
		text, err := loc.get(ctx, tx).Result()
		var current Stored
		switch {
		case err == nil:
			current = storedIn(text)
		case !errors.Is(err, redis.Nil):
			return fmt.Errorf("read %s: %w", n, err)
		}
		now, err := tx.Time(ctx).Result()
		if err != nil {
			return err
		}
		before = current.Text
		if after, err = decide(current, now.UTC().Truncate(time.Millisecond)); err != nil {
			return err
		}
		_, err = tx.TxPipelined(ctx, func(pipe redis.Pipeliner) error {
			loc.set(ctx, pipe, after)
			if s.cluster {
				return nil
			}
			s.record(ctx, pipe, n.entry(before, after))
			return s.appendChanges(ctx, pipe, n.event())
		})
		return err
	}, watched...)
	return before, after, err
}

// pause waits before the next attempt, up to 2 ms at first and up to 20 ms later. The time is random, so that writers
// do not collide again.
func pause(ctx context.Context, attempt int) error {
	maxPause := time.Duration(min(attempt+1, 10)) * 2 * time.Millisecond
	select {
	case <-time.After(rand.N(maxPause)): //nolint:gosec // spreads writers, keeps no secret
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// encode makes the JSON of a document. It fails if the document, with the members of other writers, is larger than
// [tenant.MaxDocument]. Equal documents have the same text.
func encode(document any) (string, error) {
	text, err := json.Marshal(document, json.Deterministic(true))
	if err != nil {
		return "", err
	}
	if len(text) > tenant.MaxDocument {
		return "", &tenant.FieldError{Reason: fmt.Sprintf("holds %d bytes, at most %d are accepted", len(text), tenant.MaxDocument)}
	}
	return string(text), nil
}
