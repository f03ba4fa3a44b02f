package main

import (
	"context"
	"encoding/json"

	jsonv2 "github.com/go-json-experiment/json"

	"arrakis/tenant"
	"arrakis/tenant/store"
)

type tiersCmd struct {
	Get tiersGetCmd `cmd:"" help:"Show what each tier may do."`
	Set tiersSetCmd `cmd:"" help:"Replace the overrides of the tiers, for every tenant without its own."`
}

type tiersGetCmd struct {
	outputFlags
	redisSettings
}

func (c *tiersGetCmd) Run(ctx context.Context, p process) error {
	return withStore(ctx, p, &c.redisSettings, func(tenants *store.Store) error {
		config, _, err := tenants.GetTiers(ctx)
		if err != nil {
			return err
		}
		return printTiers(p, c.outputFlags, &config)
	})
}

type tiersSetCmd struct {
	Overrides string `arg:"" name:"JSON" help:"As tiers get --json prints them, such as {\"free\":{\"rateLimits\":{\"commandsPerMinute\":20}}}; what is left out has arrakis's defaults, {} is all of them."`
	outputFlags
	redisSettings
}

func (c *tiersSetCmd) Run(ctx context.Context, p process) error {
	config, err := tenant.ParseTiers([]byte(c.Overrides))
	if err != nil {
		return usageError{err}
	}
	return withStore(ctx, p, &c.redisSettings, func(tenants *store.Store) error {
		if _, err := tenants.PutTiers(ctx, config, store.PutOptions{}); err != nil {
			return err
		}
		return printTiers(p, c.outputFlags, &config)
	})
}

// printTiers prints the overrides, for people with what follows from them.
// Members of other writers are left out: they could not be set again.
func printTiers(p process, o outputFlags, config *tenant.Tiers) error {
	config.Unknown = nil
	for _, t := range []*tenant.TierOverrides{&config.Free, &config.Pro, &config.Enterprise} {
		t.Unknown, t.Features.Unknown, t.RateLimits.Unknown = nil, nil, nil
	}
	document, err := jsonv2.Marshal(config)
	if err != nil {
		return err
	}
	return o.print(p.stdout, json.RawMessage(document), func(t *table) {
		t.row("TIER", "COMMANDS", "CHECKS", "SYNCS", "FEATURES")
		for _, tier := range []tenant.Tier{tenant.Free, tenant.Pro, tenant.Enterprise} {
			r := tenant.Resolve("", &tenant.Config{Tier: tier}, config)
			t.row(string(tier), limitText(r, tenant.Command), limitText(r, tenant.EligibilityCheck),
				limitText(r, tenant.SyncRequest), list(r.Features.Names()))
		}
	})
}
