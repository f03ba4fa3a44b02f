package main

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"arrakis/tenant"
	"arrakis/tenant/store"
)

type discordSKUCmd struct {
	List   skuListCmd   `cmd:"" help:"List the SKUs that give a tier."`
	Set    skuSetCmd    `cmd:"" help:"Give a tier to all who have bought a SKU."`
	Delete skuDeleteCmd `cmd:"" help:"Take the tier of a SKU from all who have bought it."`
}

// skus are the SKUs as --json prints them.
type skus struct {
	SKUs map[string]tenant.Tier `json:"skus"`
}

func skuTable(t *table, skus map[string]tenant.Tier) {
	if len(skus) == 0 {
		t.row("no SKU gives a tier: `arrakis discord sku set <sku> pro` makes one do so")
		return
	}
	t.row("SKU", "TIER")
	for _, id := range slices.Sorted(maps.Keys(skus)) {
		t.row(id, string(skus[id]))
	}
}

type skuListCmd struct {
	storeFlags
}

func (c *skuListCmd) Run(ctx context.Context, p process) error {
	return c.withStore(ctx, func(tenants *store.Store) error {
		tiers, _, err := tenants.GetTiers(ctx)
		if err != nil {
			return err
		}
		return c.print(p.stdout, skus{tiers.SKUs}, func(t *table) { skuTable(t, tiers.SKUs) })
	})
}

type skuSetCmd struct {
	SKU  string `arg:"" help:"ID of the SKU, as Discord's developer portal shows it."`
	Tier string `arg:"" help:"Tier of who has bought it: free, pro or enterprise."`
	storeFlags
}

func (*skuSetCmd) Help() string {
	return `Of several SKUs that a community has bought, the one with the highest tier counts. A tier that was set by hand ("arrakis tenant set --tier") counts in place of all of them.`
}

func (c *skuSetCmd) validate(process) error {
	if err := tenant.CheckSKU(c.SKU); err != nil {
		return err
	}
	return (&tenant.Config{Tier: tenant.Tier(c.Tier)}).Validate()
}

func (c *skuSetCmd) Run(ctx context.Context, p process) error {
	return c.withStore(ctx, func(tenants *store.Store) error {
		tiers, _, err := tenants.UpdateTiers(ctx, func(t *tenant.Tiers) error {
			if t.SKUs == nil {
				t.SKUs = make(map[string]tenant.Tier)
			}
			t.SKUs[c.SKU] = tenant.Tier(c.Tier)
			return nil
		})
		if err != nil {
			return err
		}
		return c.print(p.stdout, skus{tiers.SKUs}, func(t *table) { skuTable(t, tiers.SKUs) })
	})
}

type skuDeleteCmd struct {
	SKU string `arg:"" help:"ID of the SKU."`
	storeFlags
}

func (c *skuDeleteCmd) validate(process) error { return tenant.CheckSKU(c.SKU) }

func (c *skuDeleteCmd) Run(ctx context.Context, p process) error {
	return c.deleted(ctx, p, c.SKU, "the SKU gives no tier now", func(tenants *store.Store) error {
		_, _, err := tenants.UpdateTiers(ctx, func(t *tenant.Tiers) error {
			if _, ok := t.SKUs[c.SKU]; !ok {
				return fmt.Errorf("SKU %s: %w", c.SKU, store.ErrNotFound)
			}
			delete(t.SKUs, c.SKU)
			return nil
		})
		return err
	})
}
