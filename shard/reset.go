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
		err := l.reset(ctx, &done, actions, actions)
		return done, err
	}
	// user_command comes last and has an event of its own, because the scan for the users' keys takes time, and the
	// other actions should not wait for it.
	if err := l.reset(ctx, &done, counted, nil); err != nil {
		return done, err
	}
	users := []tenant.Action{tenant.UserCommand}
	err = l.reset(ctx, &done, users, users)
	return done, err
}

// reset forgets the admissions of the given actions. Then it tells every process that the admissions of the actions in
// told were forgotten. An empty told means all actions.
func (l *Limits) reset(ctx context.Context, done *Reset, actions, told []tenant.Action) error {
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
	return l.Tenants.NotifyReset(ctx, done.Community, told...)
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
