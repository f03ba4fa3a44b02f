package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"arrakis/pipeline/view"
	"arrakis/shard"
	"arrakis/tenant"
	"arrakis/tenant/store"
)

type tenantCmd struct {
	Get     tenantGetCmd     `cmd:"" help:"Show a tenant."`
	List    tenantListCmd    `cmd:"" help:"List the stored tenants."`
	Set     tenantSetCmd     `cmd:"" help:"Create a tenant or change its tier, features and limits."`
	Boost   tenantBoostCmd   `cmd:"" help:"Raise limits of a tenant for a time."`
	Upgrade tenantUpgradeCmd `cmd:"" help:"Move a tenant to another tier, up or down."`
	Delete  tenantDeleteCmd  `cmd:"" help:"Delete a tenant. Its community then has the free tier."`

	Import    tenantImportCmd    `cmd:"" help:"Store the tenants of a list that was printed as JSON."`
	Move      tenantMoveCmd      `cmd:"" help:"Move all tenants, accounts, tiers and flags between Redis and PostgreSQL."`
	Rebuild   tenantRebuildCmd   `cmd:"" help:"Fill a Redis that was lost from PostgreSQL."`
	Reconcile tenantReconcileCmd `cmd:"" help:"Compare Redis with PostgreSQL, and repair what differs."`
}

type tenantGetCmd struct {
	Community string `arg:"" help:"ID that messages carry."`
	storeFlags
}

func (c *tenantGetCmd) validate(process) error { return tenant.CheckID(c.Community) }

func (c *tenantGetCmd) Run(ctx context.Context, p process) error {
	return c.showTenant(ctx, p, c.Community, func(tenants *store.Store) (tenant.Config, store.Version, error) {
		return tenants.Get(ctx, c.Community)
	})
}

// showTenant prints the config that f returns. The output for people also shows the defaults of the tier.
func (s *storeFlags) showTenant(ctx context.Context, p process, id string, f func(*store.Store) (tenant.Config, store.Version, error)) error {
	return s.withTiers(ctx, p, func(_ redis.UniversalClient, tenants *store.Store) error {
		config, _, err := f(tenants)
		if err != nil {
			return nextStep(err, "arrakis tenant set "+id+" --tier pro")
		}
		account, err := tenants.AccountOf(ctx, &config)
		if err != nil {
			return err
		}
		return s.print(p.stdout, view.Tenant(config), func(t *table) {
			tenantTable(t, id, tenant.Documents{Config: &config, Account: account, Tiers: tenants.Tiers()})
		})
	})
}

func tenantTable(t *table, id string, d tenant.Documents) {
	explained := tenant.Explain(id, d, nil, time.Now())
	resolved, config := explained.Tenant, d.Config
	t.row("community", resolved.ID)
	if resolved.ID != id {
		t.row("stored as", id)
	}
	if config.GuildID != "" {
		t.row("guild", config.GuildID)
	}
	accountRow(t, resolved.Account)
	tier := view.TierText(explained.Tier, resolved.Account, shard.NewExplainedEntitlement(explained.Bought))
	t.words(strings.Fields(tier), "tier")
	settingRows(t, resolved, config.Boosts)
	t.row("created", when(config.CreatedAt))
	t.row("updated", when(config.UpdatedAt))
}

// settingRows print what a tenant may do.
func settingRows(t *table, resolved *tenant.Tenant, boosts *tenant.BoostOverrides) {
	t.listRow("features", resolved.Features.Names())
	t.row("weight", strconv.Itoa(resolved.Weight))
	if resolved.Shadow {
		t.row("mode", shadowText)
	}
	for a := range tenant.Action(tenant.NumActions) {
		t.row(a.String(), limitText(resolved, a)+boostText(boosts, resolved, a))
		if n := resolved.MaxDelayed[a]; n > 0 {
			t.row(a.String()+" delayed", delayText(n))
		}
	}
}

// shadowText says for people what shadow mode is.
const shadowText = "shadow: limits are counted, not enforced"

// limitText is a limit for people.
func limitText(t *tenant.Tenant, a tenant.Action) string {
	n, window := t.Limit(a)
	if n < 0 {
		return count(n)
	}
	return fmt.Sprintf("%d per %s", n, short(window))
}

// delayText is for people how many messages over a limit are delayed at most.
func delayText(n int64) string {
	if n == 0 {
		return "-"
	}
	return fmt.Sprintf("up to %d", n)
}

// allFeatures are the names of all features.
var allFeatures = (^tenant.Features(0)).Names()

// pageFlags are the flags of a list that may be long.
type pageFlags struct {
	Limit  int    `default:"1000" max:"1000000" help:"How many to list at most."`
	Cursor string `placeholder:"CURSOR" help:"Cursor that the previous list ended with, for the next page."`
}

type tenantListCmd struct {
	pageFlags
	storeFlags
}

func (*tenantListCmd) Help() string {
	return `A TIER with a + was bought on Discord, one with an @ is that of an account; others were set by hand. FEATURES says how many of the features are on. "arrakis tenant get <community>" says more. Limits are shown without boosts.`
}

func (c *tenantListCmd) Run(ctx context.Context, p process) error {
	return c.withTiers(ctx, p, func(_ redis.UniversalClient, tenants *store.Store) error {
		entries, next, err := allPages(c.pageFlags, func(o store.ListOptions) ([]store.Entry, string, error) {
			page, err := tenants.List(ctx, o)
			return page.Entries, page.Cursor, err
		})
		if err != nil {
			return err
		}
		return c.print(p.stdout, view.NewTenants(entries, next), func(t *table) { listTable(t, tenants.Tiers(), entries, next) })
	})
}

// allPages collects the entries of pages, as many as the flags say. It returns the cursor of the next page, or "" if there
// is none.
func allPages[T any](f pageFlags, page func(store.ListOptions) ([]T, string, error)) ([]T, string, error) {
	var all []T
	cursor := f.Cursor
	for {
		entries, next, err := page(store.ListOptions{Cursor: cursor, Limit: min(f.Limit-len(all), store.MaxListLimit)})
		if errors.Is(err, store.ErrCursor) {
			return nil, "", usageError{err}
		}
		if err != nil {
			return nil, "", err
		}
		all, cursor = append(all, entries...), next
		if cursor == "" || len(all) >= f.Limit {
			return all, cursor, nil
		}
	}
}

// moreRow says that there is another page.
func moreRow(t *table, cursor string) {
	if cursor != "" {
		t.row("there are more: --cursor " + cursor)
	}
}

// limitCells are the limits that lists show.
func limitCells(r *tenant.Tenant) (cells []string) {
	for _, a := range []tenant.Action{tenant.Command, tenant.EligibilityCheck, tenant.SyncRequest} {
		n, _ := r.Limit(a)
		cells = append(cells, count(n))
	}
	return cells
}

// listTable fits into 80 columns, also with limits in the millions.
func listTable(t *table, tiers *tenant.Tiers, entries []store.Entry, cursor string) {
	if len(entries) == 0 {
		t.row("no tenants are stored: every community has the free tier")
		return
	}
	t.row("COMMUNITY", "TIER", "COMMANDS/MIN", "CHECKS/H", "SYNCS/DAY", "FEATURES")
	for _, e := range entries {
		if e.Err != nil {
			t.row(e.ID, "cannot be used: see `arrakis tenant get "+e.ID+"`")
			continue
		}
		r := tenant.Resolve(e.ID, tenant.Documents{Config: &e.Config, Account: e.Account, Tiers: tiers}, time.Now())
		row := []string{e.ID, string(r.Tier)}
		switch {
		case e.Account != nil:
			row[1] += "@"
		case e.Config.TierFrom == tenant.FromEntitlement && r.Tier != tenant.Free:
			row[1] += "+"
		}
		t.row(append(append(row, limitCells(r)...), fmt.Sprintf("%d of %d", len(r.Features.Names()), len(allFeatures)))...)
	}
	moreRow(t, cursor)
}

type tenantSetCmd struct {
	Community string `arg:"" help:"ID that messages carry."`
	Tier      string `placeholder:"TIER" help:"New tier: free, pro or enterprise, whatever was bought on Discord; or auto for the tier that was bought. Unlike tenant upgrade, this keeps the tenant's own features and limits."`
	Account   string `placeholder:"ID" xor:"account" help:"Put the community into an account, whose tier it then has, and whose limits, unless it has its own."`
	NoAccount bool   `xor:"account" help:"Take the community out of its account."`
	Guild     string `placeholder:"ID" help:"Guild that the tenant belongs to."`
	overrideFlags
	storeFlags
}

func (c *tenantSetCmd) validate(process) error { return tenant.CheckID(c.Community) }

func (c *tenantSetCmd) Run(ctx context.Context, p process) error {
	members := map[string]any{"tier": c.Tier, "guildId": c.Guild, "account": c.Account}
	if c.Tier == "auto" {
		members["tier"], members["tierFrom"] = "", tenant.FromEntitlement
	}
	if c.NoAccount {
		members["account"] = nil
	}
	patches, err := c.patches(members)
	if err != nil {
		return usageError{err}
	}
	edit := merges(patches, (*tenant.Config).Merge)
	if err := edit(&tenant.Config{Tier: tenant.Free}); err != nil {
		return usageError{err}
	}
	return c.showTenant(ctx, p, c.Community, func(tenants *store.Store) (tenant.Config, store.Version, error) {
		return tenants.Update(ctx, c.Community, edit)
	})
}

type tenantUpgradeCmd struct {
	Community     string `arg:"" help:"ID that messages carry."`
	Tier          string `arg:"" help:"New tier: free, pro or enterprise."`
	KeepOverrides bool   `help:"Keep the tenant's own features and limits. Without this flag those of the new tier replace them."`
	storeFlags
}

func (c *tenantUpgradeCmd) validate(process) error { return tenant.CheckID(c.Community) }

func (c *tenantUpgradeCmd) Run(ctx context.Context, p process) error {
	tier := tenant.Tier(c.Tier)
	if err := (&tenant.Config{Tier: tier}).Validate(); err != nil {
		return usageError{err}
	}
	var options []store.UpgradeOption
	if c.KeepOverrides {
		options = append(options, store.KeepOverrides)
	}
	return c.showTenant(ctx, p, c.Community, func(tenants *store.Store) (tenant.Config, store.Version, error) {
		return tenants.UpgradeTier(ctx, c.Community, tier, options...)
	})
}

type tenantDeleteCmd struct {
	Community string `arg:"" help:"ID that messages carry."`
	storeFlags
}

func (c *tenantDeleteCmd) validate(process) error { return tenant.CheckID(c.Community) }

func (c *tenantDeleteCmd) Run(ctx context.Context, p process) error {
	return c.deleted(ctx, p, c.Community, "the community has the free tier now", func(tenants *store.Store) error {
		return tenants.Delete(ctx, c.Community, "")
	})
}
