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

// decision makes the next text of a document from the current text. exists says whether the document is stored. An
// empty next text deletes the document. now is the time of Redis. A decision may be called several times.
type decision func(current string, exists bool, now time.Time) (next string, err error)

// remove is the decision to delete a document if it has the version ifMatch. If ifMatch is empty, any version is
// deleted.
func remove(ifMatch Version) decision {
	return func(current string, exists bool, _ time.Time) (string, error) {
		switch {
		case !exists && ifMatch == "":
			return "", ErrNotFound
		case !exists:
			return "", fmt.Errorf("%w: it is gone already", ErrConflict)
		case ifMatch != "" && ifMatch != versionOf(current):
			return "", fmt.Errorf("%w: read it again before deleting it", ErrConflict)
		}
		return "", nil
	}
}

// maxAttempts bounds how often a write starts again because another writer was faster. Of n concurrent writers, one
// wins in each round.
const maxAttempts = 100

// change is what a write changes, and how it is told.
type change struct {
	location location
	event    tenant.Event // announced to every process
	kind     AuditType
	shown    func(text string) AuditText // what the audit log keeps of the document
}

func tenantChange(id string) change {
	return change{
		location: configLocation(id), event: tenant.Event{Type: tenant.TenantChanged, TargetID: id},
		kind: AuditTenant, shown: shown((*tenant.Config).Known),
	}
}

func flagChange(id string) change {
	return change{
		location: flagLocation(id), event: tenant.Event{Type: tenant.FlagChanged, TargetID: id},
		kind: AuditFlag, shown: shown((*tenant.Flag).Known),
	}
}

func tiersChange() change {
	return change{
		location: location{key: tiersKey}, event: tenant.Event{Type: tenant.GlobalChanged},
		kind: AuditTiers, shown: shown((*tenant.Tiers).Known),
	}
}

// entry is the change's entry in the audit log. The texts are those of the document, "" for none.
func (c *change) entry(before, after string) AuditEntry {
	return AuditEntry{Type: c.kind, Target: c.event.TargetID, Before: c.shown(before), After: c.shown(after)}
}

// write stores the text that decide makes of the document, adds the change to the audit log, and announces it. It does
// all of it in one transaction, but on Cluster one after the other. It returns the version of the text.
func (s *Store) write(ctx context.Context, c change, decide decision) (Version, error) {
	for attempt := range maxAttempts {
		var before, after string
		err := s.rdb.Watch(ctx, func(tx *redis.Tx) (err error) {
			before, after, err = s.attempt(ctx, tx, c, decide)
			return err
		}, c.location.key)
		switch {
		case errors.Is(err, redis.TxFailedErr):
			if err := pause(ctx, attempt); err != nil {
				return "", err
			}
			continue
		case err != nil:
			return "", err
		case s.cluster:
			if err := s.tell(ctx, c.entry(before, after), c.event); err != nil {
				return "", fmt.Errorf("the document is stored, but other processes do not know it yet, or the audit log does not have it; run a reload: %w", err)
			}
		}
		return versionOf(after), nil
	}
	return "", fmt.Errorf("%w: %d times in a row; try again", ErrConflict, maxAttempts)
}

// attempt is one transaction of write. It returns the texts of the document before and after. Redis refuses the
// transaction with TxFailedErr if the document has changed since it was read.
func (s *Store) attempt(ctx context.Context, tx *redis.Tx, c change, decide decision) (before, after string, err error) {
	before, err = c.location.get(ctx, tx).Result()
	exists := err == nil
	if err != nil && !errors.Is(err, redis.Nil) {
		return "", "", fmt.Errorf("read %s: %w", c.location, err)
	}
	now, err := tx.Time(ctx).Result()
	if err != nil {
		return "", "", err
	}
	if after, err = decide(before, exists, now.UTC().Truncate(time.Millisecond)); err != nil {
		return "", "", err
	}
	_, err = tx.TxPipelined(ctx, func(pipe redis.Pipeliner) error {
		c.location.set(ctx, pipe, after)
		if s.cluster {
			return nil
		}
		s.record(ctx, pipe, c.entry(before, after))
		return s.appendChanges(ctx, pipe, c.event)
	})
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
