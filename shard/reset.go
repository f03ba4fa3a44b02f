package shard

import (
	"context"
	"fmt"
	"slices"

	"arrakis/tenant"
)

// Reset says which actions of which community were reset.
type Reset struct {
	Community string   `json:"community_id"`
	Actions   []string `json:"reset"`
	// Account is the one whose communities are counted together: their actions were reset for all of them, but for
	// user_command. Empty: only the community's were.
	Account string `json:"account,omitempty"`
}

// Reset forgets the admissions of the community that the tenant key id belongs to, and tells every process. What is
// counted together with other communities of an account is forgotten for all of them. Without actions it resets all
// actions. A reset of user_command scans every key of Redis. The errors are those of Usage.
func (l *Limits) Reset(ctx context.Context, id string, actions ...tenant.Action) (Reset, error) {
	t, err := l.tenant(ctx, id)
	if err != nil {
		return Reset{}, err
	}
	done := Reset{Community: t.ID}
	all := len(actions) == 0
	if all {
		actions = everyAction
	}
	limitID := t.LimitID(tenant.Command)
	together := limitID != t.ID
	// user_command comes last and has an event of its own, because the scan for the users' keys takes time, and the
	// other actions should not wait for it.
	if others := slices.DeleteFunc(slices.Clone(actions), ofUsers); len(others) > 0 {
		if err := l.reset(ctx, &done, limitID, others); err != nil {
			return done, err
		}
		if together {
			done.Account = t.Account.ID
		} else if all {
			others = nil // this event says that all actions are reset, in the audit log too
		}
		if err := l.Tenants.NotifyReset(ctx, limitID, others...); err != nil {
			return done, err
		}
	}
	if !slices.ContainsFunc(actions, ofUsers) {
		return done, nil
	}
	if err := l.reset(ctx, &done, t.ID, []tenant.Action{tenant.UserCommand}); err != nil {
		return done, err
	}
	notify := l.Tenants.NotifyReset
	if all && !together {
		notify = l.Tenants.NotifyResetAgain
	}
	return done, notify(ctx, t.ID, tenant.UserCommand)
}

// everyAction are all actions, and ofUsers reports whether one is counted for each user.
var everyAction = append(slices.Clone(counted), tenant.UserCommand)

func ofUsers(a tenant.Action) bool { return a == tenant.UserCommand }

// reset forgets the admissions of the actions that are counted under the ID.
func (l *Limits) reset(ctx context.Context, done *Reset, limitID string, actions []tenant.Action) error {
	for _, a := range actions {
		var err error
		if a == tenant.UserCommand {
			err = l.Limiter.ResetPrefix(ctx, UserKey(limitID, ""))
		} else {
			err = l.Limiter.Reset(ctx, Key(limitID, a))
		}
		if err != nil {
			return fmt.Errorf("reset %s of %q: %w", a, limitID, err)
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
