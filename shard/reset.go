package shard

import (
	"context"
	"fmt"

	"arrakis/tenant"
)

// Reset says which actions of which community were reset.
type Reset struct {
	Community string   `json:"community_id"`
	Actions   []string `json:"reset"`
}

// Reset forgets the admissions of the community that the tenant key id belongs to, and tells every process. Without
// actions it resets all actions. A reset of user_command scans every key of Redis. The errors are those of Usage.
func (l *Limits) Reset(ctx context.Context, id string, actions ...tenant.Action) (Reset, error) {
	t, err := l.tenant(ctx, id)
	if err != nil {
		return Reset{}, err
	}
	done := Reset{Community: t.ID}
	if len(actions) > 0 {
		err := l.reset(ctx, &done, actions)
		if err == nil {
			err = l.Tenants.NotifyReset(ctx, t.ID, actions...)
		}
		return done, err
	}
	// user_command comes last and has an event of its own, because the scan for the users' keys takes time, and the
	// other actions should not wait for it. The first event says that all actions are reset, in the audit log too.
	if err := l.reset(ctx, &done, counted); err != nil {
		return done, err
	}
	if err := l.Tenants.NotifyReset(ctx, t.ID); err != nil {
		return done, err
	}
	if err := l.reset(ctx, &done, []tenant.Action{tenant.UserCommand}); err != nil {
		return done, err
	}
	return done, l.Tenants.NotifyResetAgain(ctx, t.ID, tenant.UserCommand)
}

// reset forgets the admissions of the actions.
func (l *Limits) reset(ctx context.Context, done *Reset, actions []tenant.Action) error {
	for _, a := range actions {
		var err error
		if a == tenant.UserCommand {
			err = l.Limiter.ResetPrefix(ctx, UserKey(done.Community, ""))
		} else {
			err = l.Limiter.Reset(ctx, Key(done.Community, a))
		}
		if err != nil {
			return fmt.Errorf("reset %s of %q: %w", a, done.Community, err)
		}
		done.Actions = append(done.Actions, a.String())
	}
	return nil
}

// ParseActions reads the name of the action to reset. For "", which means all actions, it returns nil. The error is a
// [*tenant.FieldError].
func ParseActions(name string) ([]tenant.Action, error) {
	if name == "" {
		return nil, nil
	}
	a, err := tenant.ParseAction(name)
	if err != nil {
		return nil, &tenant.FieldError{Field: "action", Reason: err.Error()}
	}
	return []tenant.Action{a}, nil
}
