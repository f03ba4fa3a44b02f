package main

import (
	"cmp"
	"context"
	"errors"
	"strings"
	"time"

	"arrakis/shard"
	"arrakis/tenant"
	"arrakis/tenant/store"
)

type resetCmd struct {
	Community string `arg:"" help:"ID that messages carry."`
	Action    string `arg:"" optional:"" help:"command, eligibility_check, sync_request or user_command, which is each user's commands. Default: all of them."`
	storeFlags
}

func (c *resetCmd) validate(process) error {
	_, err := shard.ParseActions(c.Action)
	return errors.Join(tenant.CheckID(c.Community), err)
}

func (c *resetCmd) Run(ctx context.Context, p process) error {
	actions, err := shard.ParseActions(c.Action)
	if err != nil {
		return usageError{err}
	}
	return c.withLimits(ctx, p, func(l *shard.Limits) error {
		done, err := l.Reset(ctx, c.Community, actions...)
		if err != nil {
			return err
		}
		return c.print(p.stdout, done, func(t *table) {
			t.row("reset " + strings.Join(done.Actions, ", ") + " of " + done.Community)
			if done.Account != "" {
				t.row("It counts together with all communities of the account " + done.Account + ": they are reset too, but for user_command.")
			}
		})
	})
}

type reloadCmd struct {
	Community string `arg:"" optional:"" help:"Only this community's tenant. Default: all tenants, accounts, tiers and flags."`
	storeFlags
}

func (c *reloadCmd) Run(ctx context.Context, p process) error {
	return c.withStore(ctx, func(tenants *store.Store) error {
		if err := tenants.NotifyReload(ctx, c.Community); err != nil {
			return err
		}
		what := cmp.Or(c.Community, "everything")
		return c.print(p.stdout, map[string]string{"reload": what}, func(t *table) {
			t.row("told every worker to read " + what + " again")
		})
	})
}

func milliseconds(n int64) time.Duration { return time.Duration(n) * time.Millisecond }
