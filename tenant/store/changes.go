package store

import (
	"cmp"
	"context"
	_ "embed" // changes.lua
	"fmt"
	"slices"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/redis/go-redis/v9"

	"arrakis/tenant"
)

// A Store announces changes under this key and channel; package watch reads both.
const (
	// ChangesKey is the change log: a sorted set of [tenant.Event.Member], scored by the unix ms of the last change.
	ChangesKey = "arrakis:config:changes"
	// ReloadChannel is the pub/sub channel of the events.
	ReloadChannel = "arrakis:config:reload"
	// ChangesKept is how long the change log keeps an entry.
	ChangesKept = 24 * time.Hour
)

// changesScript is sent as text and not by EVALSHA, because a transaction cannot fall back from EVALSHA. Writes are
// rare.
//
//go:embed changes.lua
var changesScript string

// NotifyReset tells every process that the admissions under a [tenant.Tenant.LimitID] have been deleted from Redis, so that
// no process continues to reject from its local state, and adds the reset to the audit log. Without actions, all actions
// were reset. The caller must have deleted the admissions before.
func (s *Store) NotifyReset(ctx context.Context, limitID string, actions ...tenant.Action) error {
	return s.notifyReset(ctx, limitID, actions, true)
}

// NotifyResetAgain is NotifyReset for a further part of a reset that is in the audit log already.
func (s *Store) NotifyResetAgain(ctx context.Context, limitID string, actions ...tenant.Action) error {
	return s.notifyReset(ctx, limitID, actions, false)
}

func (s *Store) notifyReset(ctx context.Context, limitID string, actions []tenant.Action, record bool) error {
	if err := tenant.CheckLimitID(limitID); err != nil {
		return err
	}
	events, err := resetEvents(limitID, actions)
	if err != nil {
		return err
	}
	if record {
		err = s.tell(ctx, resetEntry(limitID, actions), events...)
	} else {
		err = s.appendChanges(ctx, s.rdb, events...)
	}
	if err != nil {
		return fmt.Errorf("notify reset of %q: %w", limitID, err)
	}
	return nil
}

// resetEntry says which actions were reset.
func resetEntry(limitID string, actions []tenant.Action) AuditEntry {
	names := make([]string, 0, tenant.NumActions)
	for a := range tenant.Action(tenant.NumActions) {
		if len(actions) == 0 || slices.Contains(actions, a) {
			names = append(names, a.String())
		}
	}
	return AuditEntry{Type: AuditReset, Target: limitID, After: NewAuditText(map[string][]string{"reset": names})}
}

// NotifyReload makes every process read a community's config again. If community is "", the processes read all tiers,
// configs and flags again.
func (s *Store) NotifyReload(ctx context.Context, community string) error {
	ev := tenant.Event{Type: tenant.TenantChanged, TargetID: community}
	if community == "" {
		ev.Type = tenant.GlobalChanged
	} else if err := tenant.CheckID(community); err != nil {
		return err
	}
	if err := s.tell(ctx, AuditEntry{Type: AuditReload, Target: community}, ev); err != nil {
		return fmt.Errorf("notify reload of %q: %w", community, err)
	}
	return nil
}

// tell adds the entry to the audit log, appends the events to the change log and publishes them, in one transaction; on
// Cluster in one round trip.
func (s *Store) tell(ctx context.Context, entry AuditEntry, events ...tenant.Event) error {
	run := s.rdb.TxPipelined
	if s.cluster {
		run = s.rdb.Pipelined
	}
	_, err := run(ctx, func(pipe redis.Pipeliner) error {
		s.record(ctx, pipe, entry)
		return s.appendChanges(ctx, pipe, events...)
	})
	return err
}

// appendChanges appends the events to the change log and publishes them, in one step of Redis. The connection may be a
// transaction's pipeline.
func (s *Store) appendChanges(ctx context.Context, rdb redis.Cmdable, events ...tenant.Event) error {
	args := []any{ReloadChannel, ChangesKept.Milliseconds()}
	for _, ev := range events {
		ev.Source = cmp.Or(ev.Source, s.source)
		text, err := json.Marshal(ev)
		if err != nil {
			return fmt.Errorf("%s event: %w", ev.Type, err)
		}
		args = append(args, ev.Member(), text)
	}
	return rdb.Eval(ctx, changesScript, []string{ChangesKey}, args...).Err()
}

// resetEvents are the events of a reset. The target "guild:command" means the action command of the community guild. So
// a community whose ID ends with a colon and an action's name cannot be a target by itself. Its actions are reset one
// by one.
func resetEvents(community string, actions []tenant.Action) ([]tenant.Event, error) {
	if len(actions) == 0 {
		whole := tenant.Event{Type: tenant.LimitReset, TargetID: community}
		parsed, _, _ := whole.Reset()
		if parsed == community {
			return []tenant.Event{whole}, nil
		}
		actions = []tenant.Action{tenant.Command, tenant.EligibilityCheck, tenant.SyncRequest, tenant.UserCommand}
	}
	events := make([]tenant.Event, len(actions))
	for i, a := range actions {
		if a >= tenant.NumActions {
			return nil, fmt.Errorf("reset of %s: no such action", a)
		}
		events[i] = tenant.Event{Type: tenant.LimitReset, TargetID: community + ":" + a.String()}
	}
	return events, nil
}
