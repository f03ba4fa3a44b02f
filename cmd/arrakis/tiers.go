package main

import (
	"context"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

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
	return c.withStore(ctx, func(tenants *store.Store) error {
		config, _, err := tenants.GetTiers(ctx)
		if err != nil {
			return err
		}
		return printTiers(p, c.outputFlags, &config)
	})
}

type tiersSetCmd struct {
	Overrides string `arg:"" name:"JSON" help:"Overrides as tiers get --json prints them, such as {\"free\":{\"rateLimits\":{\"commandsPerMinute\":20}}}; a member that is left out has the default of arrakis, and {} resets all of them, but keeps the SKUs."`
	storeFlags
}

func (c *tiersSetCmd) Run(ctx context.Context, p process) error {
	config, err := tenant.ParseTiers([]byte(c.Overrides))
	if err != nil {
		return usageError{err}
	}
	return c.withStore(ctx, func(tenants *store.Store) error {
		if _, err := tenants.PutTiers(ctx, config, store.PutOptions{}); err != nil {
			return err
		}
		return printTiers(p, c.outputFlags, &config)
	})
}

// printTiers prints the overrides. The output for people shows the resulting tiers.
func printTiers(p process, o outputFlags, config *tenant.Tiers) error {
	return o.print(p.stdout, view.Tiers(*config), func(t *table) { tiersTable(t, config) })
}

// tiersTable has a column for each tier, so that it fits into 80 columns.
func tiersTable(t *table, config *tenant.Tiers) {
	header := []string{""}
	var tiers []*tenant.Tenant
	for _, tier := range []tenant.Tier{tenant.Free, tenant.Pro, tenant.Enterprise} {
		header = append(header, strings.ToUpper(string(tier)))
		tiers = append(tiers, tenant.Resolve("", tenant.Documents{Config: &tenant.Config{Tier: tier}, Tiers: config}, time.Now()))
	}
	row := func(name string, cell func(tier *tenant.Tenant) string) {
		cells := []string{name}
		for _, tier := range tiers {
			cells = append(cells, cell(tier))
		}
		t.row(cells...)
	}
	t.row(header...)
	row("weight", func(tier *tenant.Tenant) string { return strconv.Itoa(tier.Weight) })
	if slices.ContainsFunc(tiers, func(tier *tenant.Tenant) bool { return tier.Shadow }) {
		row("mode", func(tier *tenant.Tenant) string { return string(tier.Mode()) })
	}
	for a := range tenant.Action(tenant.NumActions) {
		row(a.String(), func(tier *tenant.Tenant) string { return limitText(tier, a) })
		if slices.ContainsFunc(tiers, func(tier *tenant.Tenant) bool { return tier.MaxDelayed[a] > 0 }) {
			row(a.String()+" delayed", func(tier *tenant.Tenant) string { return delayText(tier.MaxDelayed[a]) })
		}
	}
	for _, feature := range allFeatures {
		row(feature, func(tier *tenant.Tenant) string { return onOff(slices.Contains(tier.Features.Names(), feature)) })
	}
	for _, sku := range slices.Sorted(maps.Keys(config.SKUs)) {
		row("SKU "+sku, func(tier *tenant.Tenant) string {
			if config.SKUs[sku] == tier.Tier {
				return "gives it"
			}
			return "-"
		})
	}
}
