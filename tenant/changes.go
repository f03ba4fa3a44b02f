package tenant

import (
	"context"
	_ "embed" // changes.lua
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"
)

// changesKept is how long the change log keeps an entry. A Watcher that has
// not looked for longer reloads everything.
const changesKept = 24 * time.Hour

// changesScript is sent whole: a transaction cannot fall back from EVALSHA,
// and writes are rare.
//
//go:embed changes.lua
var changesScript string

// NotifyReset tells every process that admissions of a community were
// forgotten, so that none goes on rejecting from what it knows: of the given
// actions, or of all where none is given. The caller has reset the limits.
func (s *Store) NotifyReset(ctx context.Context, community string, actions ...Action) error {
	if !ValidID(community) {
		return errID(community)
	}
	events, err := resetEvents(community, actions)
	if err != nil {
		return err
	}
	if err := s.announce(ctx, events...); err != nil {
		return fmt.Errorf("notify reset of %q: %w", community, err)
	}
	return nil
}

// NotifyReload makes every process read a community's config again, or for an
// empty community everything: tiers, configs and flags.
func (s *Store) NotifyReload(ctx context.Context, community string) error {
	ev := Event{Type: TenantChanged, TargetID: community}
	if community == "" {
		ev.Type = GlobalChanged
	} else if !ValidID(community) {
		return errID(community)
	}
	if err := s.announce(ctx, ev); err != nil {
		return fmt.Errorf("notify reload of %q: %w", community, err)
	}
	return nil
}

// announce appends the events to the change log and publishes them, at once.
func (s *Store) announce(ctx context.Context, events ...Event) error {
	return s.appendChanges(ctx, s.rdb, events...)
}

// appendChanges does it by rdb, which may be a transaction's pipeline.
func (s *Store) appendChanges(ctx context.Context, rdb redis.Cmdable, events ...Event) error {
	args := []any{reloadName, changesKept.Milliseconds()}
	for _, ev := range events {
		ev.Source = s.source
		before, behind, err := ev.aroundTimestamp()
		if err != nil {
			return err
		}
		args = append(args, ev.member(), before, behind)
	}
	return rdb.Eval(ctx, changesScript, []string{changesKey}, args...).Err()
}
