package shard

import (
	"context"
	"fmt"

	"arrakis/tenant"
)

// Reset is what a reset has forgotten.
type Reset struct {
	Community string   `json:"community_id"`
	Actions   []string `json:"reset"`
}

// Reset forgets the admissions of the community that messages with the tenant
// key id count for, of the given actions or of all where none is given, and
// tells every process. A reset of user_command looks at every key of Redis by
// SCAN. Errors are those of Usage.
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
	// The users come last, and processes are told of them by an event of its own:
	// looking for the users' keys takes its time, for which the others need not wait.
	if err := l.reset(ctx, &done, counted, nil); err != nil {
		return done, err
	}
	users := []tenant.Action{tenant.UserCommand}
	err = l.reset(ctx, &done, users, users)
	return done, err
}

// reset forgets the admissions of the given actions. It then tells every
// process that those of the actions told were forgotten; none is all of them.
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

// ParseActions reads the name of the action to reset; "" is all of them, for
// which it returns none. The error is a [*tenant.FieldError].
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
