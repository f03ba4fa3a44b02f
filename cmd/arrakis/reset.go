package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"arrakis/shard"
	"arrakis/tenant"
)

type resetCmd struct {
	Community string `arg:"" help:"ID that messages carry."`
	Action    string `arg:"" optional:"" help:"command, eligibility_check or sync_request. Default: all of them."`
	outputFlags
	redisSettings
}

func (c *resetCmd) Run(ctx context.Context, p process) error {
	var actions []tenant.Action
	if c.Action != "" {
		a, err := tenant.ParseAction(c.Action)
		if err != nil {
			return usageError{err}
		}
		if a == tenant.UserCommand {
			return usageError{errors.New("user_command is counted by user and forgotten after a minute: there is nothing to reset by community")}
		}
		actions = []tenant.Action{a}
	}
	return withLimits(ctx, p, &c.redisSettings, c.Community, func(l *limits) error {
		names, err := resetLimits(ctx, l, actions)
		if err != nil {
			return err
		}
		document := map[string]any{"community_id": l.tenant.ID, "reset": names}
		return c.print(p.stdout, document, func(t *table) {
			t.row(fmt.Sprintf("reset %s of %s", strings.Join(names, ", "), l.tenant.ID))
		})
	})
}

// resetLimits forgets the admissions of the actions, or of all for none, and
// tells the workers, which may be rejecting from what they know.
func resetLimits(ctx context.Context, l *limits, actions []tenant.Action) (names []string, err error) {
	all := actions
	if len(all) == 0 {
		all = counted
	}
	for _, a := range all {
		if err := l.limiter.Reset(ctx, shard.Key(l.tenant.ID, a)); err != nil {
			return nil, fmt.Errorf("reset %s of %q: %w", a, l.tenant.ID, err)
		}
		names = append(names, a.String())
	}
	return names, l.store.NotifyReset(ctx, l.tenant.ID, actions...)
}

type reloadCmd struct {
	Community string `arg:"" optional:"" help:"Only this community's tenant. Default: all tenants, tiers and flags."`
	outputFlags
	redisSettings
}

func (c *reloadCmd) Run(ctx context.Context, p process) error {
	return withStore(ctx, p, &c.redisSettings, func(store *tenant.Store) error {
		if err := store.NotifyReload(ctx, c.Community); err != nil {
			return err
		}
		what := c.Community
		if what == "" {
			what = "everything"
		}
		return c.print(p.stdout, map[string]string{"reload": what}, func(t *table) {
			t.row("told every worker to read " + what + " again")
		})
	})
}

func milliseconds(n int64) time.Duration { return time.Duration(n) * time.Millisecond }
