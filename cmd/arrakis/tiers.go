package main

import (
	"context"

	"arrakis/pipeline/view"
	"arrakis/tenant"
	"arrakis/tenant/store"
)

type tiersCmd struct {
	Get tiersGetCmd `cmd:"" help:"Show what each tier may do."`
	Set tiersSetCmd `cmd:"" help:"Replace the overrides of the tiers, for every tenant without its own."`
}

type tiersGetCmd struct {
	storeFlags
}

func (c *tiersGetCmd) Run(ctx context.Context, p process) error {
	return c.withStore(ctx, p, func(tenants *store.Store) error {
		config, _, err := tenants.GetTiers(ctx)
		if err != nil {
			return err
		}
		return printTiers(p, c.outputFlags, &config)
	})
}

type tiersSetCmd struct {
	Overrides string `arg:"" name:"JSON" help:"Overrides as tiers get --json prints them, such as {\"free\":{\"rateLimits\":{\"commandsPerMinute\":20}}}; a member that is left out has the default of arrakis, and {} resets all of them."`
	storeFlags
}

func (c *tiersSetCmd) Run(ctx context.Context, p process) error {
	config, err := tenant.ParseTiers([]byte(c.Overrides))
	if err != nil {
		return usageError{err}
	}
	return c.withStore(ctx, p, func(tenants *store.Store) error {
		if _, err := tenants.PutTiers(ctx, config, store.PutOptions{}); err != nil {
			return err
		}
		return printTiers(p, c.outputFlags, &config)
	})
}

// printTiers prints the overrides. The output for people shows the resulting tiers.
func printTiers(p process, o outputFlags, config *tenant.Tiers) error {
	return o.print(p.stdout, view.Tiers(*config), func(t *table) {
		t.row("TIER", "COMMANDS", "CHECKS", "SYNCS", "FEATURES")
		for _, tier := range []tenant.Tier{tenant.Free, tenant.Pro, tenant.Enterprise} {
			r := tenant.Resolve("", &tenant.Config{Tier: tier}, config)
			t.row(string(tier), limitText(r, tenant.Command), limitText(r, tenant.EligibilityCheck),
				limitText(r, tenant.SyncRequest), list(r.Features.Names()))
		}
	})
}
