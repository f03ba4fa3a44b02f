package main

import (
	"context"
	"encoding/json"
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
		return s.print(p.stdout, view.Tenant(config), func(t *table) {
			tenantTable(t, id, &config, tenants.Tiers())
		})
	})
}

func tenantTable(t *table, id string, config *tenant.Config, tiers *tenant.Tiers) {
	explained := tenant.Explain(id, tenant.Documents{Config: config, Tiers: tiers}, nil, time.Now())
	resolved := explained.Tenant
	t.row("community", resolved.ID)
	if resolved.ID != id {
		t.row("stored as", id)
	}
	if config.GuildID != "" {
		t.row("guild", config.GuildID)
	}
	tier := view.TierText(explained.Tier, shard.NewExplainedEntitlement(explained.Bought))
	t.words(strings.Fields(tier), "tier")
	t.listRow("features", resolved.Features.Names())
	t.row("weight", strconv.Itoa(resolved.Weight))
	if resolved.Shadow {
		t.row("mode", shadowText)
	}
	for a := range tenant.Action(tenant.NumActions) {
		t.row(a.String(), limitText(resolved, a)+boostText(config.Boosts, resolved, a))
		if n := resolved.MaxDelayed[a]; n > 0 {
			t.row(a.String()+" delayed", delayText(n))
		}
	}
	t.row("created", when(config.CreatedAt))
	t.row("updated", when(config.UpdatedAt))
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

type tenantListCmd struct {
	Limit  int    `default:"1000" max:"1000000" help:"How many tenants to list at most."`
	Cursor string `placeholder:"CURSOR" help:"Cursor that the previous list ended with, for the next page."`
	storeFlags
}

func (*tenantListCmd) Help() string {
	return `A TIER with a + was bought on Discord; others were set by hand. FEATURES says how many of the features are on. "arrakis tenant get <community>" says more. Limits are shown without boosts.`
}

func (c *tenantListCmd) Run(ctx context.Context, p process) error {
	return c.withTiers(ctx, p, func(_ redis.UniversalClient, tenants *store.Store) error {
		entries, next, err := listTenants(ctx, tenants, c.Cursor, c.Limit)
		if errors.Is(err, store.ErrCursor) {
			return usageError{err}
		}
		if err != nil {
			return err
		}
		return c.print(p.stdout, view.NewTenants(entries, next), func(t *table) { listTable(t, tenants.Tiers(), entries, next) })
	})
}

// listTenants collects up to limit tenants. It returns the cursor of the next page, or "" if there are no more tenants.
func listTenants(ctx context.Context, tenants *store.Store, cursor string, limit int) ([]store.Entry, string, error) {
	var entries []store.Entry
	for {
		page, err := tenants.List(ctx, store.ListOptions{
			Cursor: cursor, Limit: min(limit-len(entries), store.MaxListLimit),
		})
		if err != nil {
			return nil, "", err
		}
		entries = append(entries, page.Entries...)
		cursor = page.Cursor
		if cursor == "" || len(entries) >= limit {
			return entries, cursor, nil
		}
	}
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
		r := tenant.Resolve(e.ID, tenant.Documents{Config: &e.Config, Tiers: tiers}, time.Now())
		row := []string{e.ID, string(r.Tier)}
		if e.Config.TierFrom == tenant.FromEntitlement && r.Tier != tenant.Free {
			row[1] += "+"
		}
		for _, a := range []tenant.Action{tenant.Command, tenant.EligibilityCheck, tenant.SyncRequest} {
			n, _ := r.Limit(a)
			row = append(row, count(n))
		}
		t.row(append(row, fmt.Sprintf("%d of %d", len(r.Features.Names()), len(allFeatures)))...)
	}
	if cursor != "" {
		t.row("there are more: --cursor " + cursor)
	}
}

type tenantSetCmd struct {
	Community  string            `arg:"" help:"ID that messages carry."`
	Tier       string            `placeholder:"TIER" help:"New tier: free, pro or enterprise, whatever was bought on Discord; or auto for the tier that was bought. Unlike tenant upgrade, this keeps the tenant's own features and limits."`
	Guild      string            `placeholder:"ID" help:"Guild that the tenant belongs to."`
	Commands   string            `placeholder:"LIMIT" help:"Commands a minute: a number, unlimited, or default for the limit of the tier."`
	Checks     string            `placeholder:"LIMIT" help:"Eligibility checks an hour."`
	Syncs      string            `placeholder:"LIMIT" help:"Sync requests a day."`
	User       string            `placeholder:"LIMIT" help:"Commands a minute of each user."`
	OnLimit    string            `placeholder:"POLICY" help:"What happens to messages over the limit: reject, delay, or default for what the tier does. With --data it can be set by action."`
	MaxDelayed string            `placeholder:"N" help:"How many messages of each action are delayed at a time: 1 to 10000, or default."`
	Mode       string            `placeholder:"MODE" help:"Whether limits are enforced: enforce, or shadow to only count what they would refuse (shadow_limited in the metrics), or default for the mode of the tier."`
	Weight     string            `placeholder:"N" help:"Share of handler time while several communities have messages that wait: 1 to 100, or default for that of the tier."`
	Feature    map[string]string `placeholder:"NAME=on" help:"Switch a feature: on, off or default. May be repeated."`
	Data       string            `placeholder:"JSON" help:"Members to change, as tenant get --json prints them; null resets a member to the default of the tier."`
	storeFlags
}

func (c *tenantSetCmd) validate(process) error { return tenant.CheckID(c.Community) }

func (c *tenantSetCmd) Run(ctx context.Context, p process) error {
	patches, err := c.patches()
	if err != nil {
		return usageError{err}
	}
	edit := func(config *tenant.Config) error {
		for _, patch := range patches {
			if err := config.Merge(patch); err != nil {
				return err
			}
		}
		return nil
	}
	if err := edit(&tenant.Config{Tier: tenant.Free}); err != nil {
		return usageError{err}
	}
	return c.showTenant(ctx, p, c.Community, func(tenants *store.Store) (tenant.Config, store.Version, error) {
		return tenants.Update(ctx, c.Community, edit)
	})
}

// patches makes JSON merge patches from the flags: one from --data, then one from all other flags.
func (c *tenantSetCmd) patches() ([][]byte, error) {
	var errs []error
	members, limits, features := map[string]any{}, map[string]any{}, map[string]any{}
	const limit = "a number from 0, unlimited or default"
	for _, n := range []struct {
		flag, member, value, expected string
		in                            map[string]any
	}{
		{"commands", "commandsPerMinute", c.Commands, limit, limits},
		{"checks", "eligibilityChecksPerHour", c.Checks, limit, limits},
		{"syncs", "syncRequestsPerDay", c.Syncs, limit, limits},
		{"user", "userCommandsPerMinute", c.User, limit, limits},
		{"max-delayed", "maxDelayed", c.MaxDelayed, "a number from 1 to 10000, or default", members},
		{"weight", "weight", c.Weight, "a number from 1 to 100, or default", members},
	} {
		if n.value == "" {
			continue
		}
		value, err := parseNumber(n.value)
		if err != nil {
			errs = append(errs, fmt.Errorf("--%s is %q: expected %s", n.flag, n.value, n.expected))
		}
		n.in[n.member] = value
	}
	for name, value := range c.Feature {
		on, known := map[string]any{"on": true, "off": false, "default": nil}[value]
		if !known {
			errs = append(errs, fmt.Errorf("--feature %s=%s: expected on, off or default", name, value))
		}
		features[name] = on
	}
	tier, tierFrom := c.Tier, ""
	if tier == "auto" {
		tier, tierFrom = "", string(tenant.FromEntitlement)
	}
	for member, value := range map[string]string{"tier": tier, "tierFrom": tierFrom, "guildId": c.Guild, "onLimit": c.OnLimit, "mode": c.Mode} {
		if value != "" {
			members[member] = value
		}
	}
	for member, values := range map[string]map[string]any{"rateLimits": limits, "features": features} {
		if len(values) > 0 {
			members[member] = values
		}
	}
	for _, member := range []string{"onLimit", "mode"} {
		if members[member] == "default" {
			members[member] = nil
		}
	}
	var patches [][]byte
	if c.Data != "" {
		patches = append(patches, []byte(c.Data))
	}
	if len(members) > 0 {
		patch, err := json.Marshal(members)
		errs, patches = append(errs, err), append(patches, patch)
	}
	if len(patches) == 0 {
		errs = append(errs, errors.New(`nothing to set: give a flag, such as --tier pro; see "arrakis tenant set --help"`))
	}
	return patches, errors.Join(errs...)
}

// parseNumber reads a limit, or another number, as the value of a member of a patch. nil resets the member to the default
// of the tier. The range is checked when the patch is merged.
func parseNumber(s string) (any, error) {
	switch s {
	case "unlimited":
		return -1, nil
	case "default":
		return nil, nil //nolint:nilnil // null is a value here
	}
	return strconv.ParseInt(s, 10, 64)
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
