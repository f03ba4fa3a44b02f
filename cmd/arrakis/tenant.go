package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"

	jsonv2 "github.com/go-json-experiment/json"
	"github.com/redis/go-redis/v9"

	"arrakis/tenant"
	"arrakis/tenant/store"
)

type tenantCmd struct {
	Get     tenantGetCmd     `cmd:"" help:"Show a tenant."`
	List    tenantListCmd    `cmd:"" help:"List the stored tenants."`
	Set     tenantSetCmd     `cmd:"" help:"Create a tenant or change its tier, features and limits."`
	Upgrade tenantUpgradeCmd `cmd:"" help:"Move a tenant to another tier, up or down."`
	Delete  tenantDeleteCmd  `cmd:"" help:"Delete a tenant, which makes it a free one."`
}

// withStore runs f with the tenants of Redis.
func withStore(ctx context.Context, p process, s *redisSettings, f func(tenants *store.Store) error) error {
	return withStoreOn(ctx, p, s, func(_ redis.UniversalClient, tenants *store.Store) error { return f(tenants) })
}

// withStoreOn is withStore for those who need the client too.
func withStoreOn(ctx context.Context, p process, s *redisSettings, f func(redis.UniversalClient, *store.Store) error) error {
	rdb, err := connectRedis(ctx, s)
	if err != nil {
		return err
	}
	defer func() { _ = rdb.Close() }() // nothing is pending
	log := (&logSettings{LogLevel: "warn", LogFormat: "text"}).newLogger(p.stderr)
	tenants := store.New(rdb, store.Options{Source: "cli", Logger: log})
	err = tenants.RefreshTiers(ctx)
	var bad *store.StoredError
	if errors.As(err, &bad) {
		log.WarnContext(ctx, "the tiers keep their defaults until `arrakis tiers set` replaces their overrides", "err", err)
	} else if err != nil {
		return fmt.Errorf("read the tiers: %w", err)
	}
	return f(rdb, tenants)
}

type tenantGetCmd struct {
	Community string `arg:"" help:"ID that messages carry."`
	outputFlags
	redisSettings
}

func (c *tenantGetCmd) Run(ctx context.Context, p process) error {
	return withStore(ctx, p, &c.redisSettings, func(tenants *store.Store) error {
		config, _, err := tenants.Get(ctx, c.Community)
		if err != nil {
			return err
		}
		return printTenant(p, c.outputFlags, tenants, c.Community, &config)
	})
}

// printTenant prints the config, for people with what follows from its tier.
func printTenant(p process, f outputFlags, tenants *store.Store, id string, config *tenant.Config) error {
	document, err := jsonv2.Marshal(config)
	if err != nil {
		return err
	}
	return f.print(p.stdout, json.RawMessage(document), func(t *table) {
		resolved := tenant.Resolve(id, config, tenants.Tiers())
		t.row("community", resolved.ID)
		if resolved.ID != id {
			t.row("stored as", id)
		}
		if config.GuildID != "" {
			t.row("guild", config.GuildID)
		}
		t.row("tier", string(resolved.Tier))
		t.row("features", list(resolved.Features.Names()))
		for a := range tenant.Action(tenant.NumActions) {
			t.row(a.String(), limitText(resolved, a))
		}
		t.row("created", when(config.CreatedAt))
		t.row("updated", when(config.UpdatedAt))
	})
}

// limitText is a limit for people.
func limitText(t *tenant.Tenant, a tenant.Action) string {
	n, window := t.Limit(a)
	if n < 0 {
		return count(n)
	}
	return fmt.Sprintf("%d per %s", n, short(window))
}

type tenantListCmd struct {
	Limit  int    `default:"1000" max:"1000000" help:"Tenants to list at most."`
	Cursor string `placeholder:"CURSOR" help:"Where the list before this one ended."`
	outputFlags
	redisSettings
}

// listedTenant is one tenant in the JSON of tenant list.
type listedTenant struct {
	ID     string          `json:"id"` // what it is stored under
	Config json.RawMessage `json:"config,omitempty"`
	Error  string          `json:"error,omitempty"` // why the config cannot be used
}

func (c *tenantListCmd) Run(ctx context.Context, p process) error {
	return withStore(ctx, p, &c.redisSettings, func(tenants *store.Store) error {
		entries, cursor, err := listTenants(ctx, tenants, c.Cursor, c.Limit)
		if err != nil {
			return err
		}
		listed := make([]listedTenant, len(entries))
		for i, e := range entries {
			listed[i].ID = e.ID
			if e.Err != nil {
				listed[i].Error = e.Err.Error()
				continue
			}
			if listed[i].Config, err = jsonv2.Marshal(&e.Config); err != nil {
				return err
			}
		}
		document := struct {
			Tenants []listedTenant `json:"tenants"`
			Cursor  string         `json:"cursor,omitempty"`
		}{listed, cursor}
		return c.print(p.stdout, document, func(t *table) { listTable(t, tenants, entries, cursor) })
	})
}

// listTenants collects up to limit tenants; a cursor says that there are more.
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

func listTable(t *table, tenants *store.Store, entries []store.Entry, cursor string) {
	if len(entries) == 0 {
		t.row("no tenants are stored: every community has the free tier")
		return
	}
	t.row("COMMUNITY", "TIER", "COMMANDS", "CHECKS", "SYNCS", "FEATURES")
	for _, e := range entries {
		if e.Err != nil {
			t.row(e.ID, "cannot be used: see `arrakis tenant get "+e.ID+"`")
			continue
		}
		r := tenant.Resolve(e.ID, &e.Config, tenants.Tiers())
		t.row(e.ID, string(r.Tier), limitText(r, tenant.Command), limitText(r, tenant.EligibilityCheck),
			limitText(r, tenant.SyncRequest), list(r.Features.Names()))
	}
	if cursor != "" {
		t.row("there are more: --cursor " + cursor)
	}
}

type tenantSetCmd struct {
	Community string            `arg:"" help:"ID that messages carry."`
	Tier      string            `placeholder:"TIER" help:"New tier: free, pro or enterprise. Unlike upgrade, it keeps the tenant's own features and limits."`
	Guild     string            `placeholder:"ID" help:"Guild that the tenant belongs to."`
	Commands  string            `placeholder:"LIMIT" help:"Commands a minute: a number, unlimited, or default for the tier's."`
	Checks    string            `placeholder:"LIMIT" help:"Eligibility checks an hour."`
	Syncs     string            `placeholder:"LIMIT" help:"Sync requests a day."`
	User      string            `placeholder:"LIMIT" help:"Commands a minute of each user."`
	Feature   map[string]string `placeholder:"NAME=on" help:"Switch a feature: on, off or default. May be repeated."`
	Data      string            `placeholder:"JSON" help:"Members to change, as in tenant get --json; null gives one back to the tier."`
	outputFlags
	redisSettings
}

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
	return withStore(ctx, p, &c.redisSettings, func(tenants *store.Store) error {
		config, _, err := tenants.Update(ctx, c.Community, edit)
		if err != nil {
			return err
		}
		return printTenant(p, c.outputFlags, tenants, c.Community, &config)
	})
}

// patches are the flags as JSON merge patches: --data, then the others.
func (c *tenantSetCmd) patches() ([][]byte, error) {
	var patches [][]byte
	if c.Data != "" {
		patches = append(patches, []byte(c.Data))
	}
	patch := map[string]any{}
	if c.Tier != "" {
		patch["tier"] = c.Tier
	}
	if c.Guild != "" {
		patch["guildId"] = c.Guild
	}
	var errs []error
	limits := map[string]any{}
	for _, l := range []struct{ flag, member, value string }{
		{"commands", "commandsPerMinute", c.Commands},
		{"checks", "eligibilityChecksPerHour", c.Checks},
		{"syncs", "syncRequestsPerDay", c.Syncs},
		{"user", "userCommandsPerMinute", c.User},
	} {
		if l.value == "" {
			continue
		}
		n, err := parseLimit(l.value)
		if err != nil {
			errs = append(errs, fmt.Errorf("--%s is %q: expected %w", l.flag, l.value, err))
		}
		limits[l.member] = n
	}
	if len(limits) > 0 {
		patch["rateLimits"] = limits
	}
	features := map[string]any{}
	for name, value := range c.Feature {
		on, known := map[string]any{"on": true, "off": false, "default": nil}[value]
		if !known {
			errs = append(errs, fmt.Errorf("--feature %s=%s: expected on, off or default", name, value))
		}
		features[name] = on
	}
	if len(features) > 0 {
		patch["features"] = features
	}
	if len(patch) > 0 {
		document, err := json.Marshal(patch)
		patches, errs = append(patches, document), append(errs, err)
	}
	if len(patches) == 0 {
		errs = append(errs, errors.New(`nothing to set: give a flag, such as --tier pro; see "arrakis tenant set --help"`))
	}
	return patches, errors.Join(errs...)
}

// parseLimit reads a limit as a member of a patch, which has its range checked
// like any other: nil gives it back to the tier. The error says what was
// expected.
func parseLimit(s string) (any, error) {
	switch s {
	case "unlimited":
		return -1, nil
	case "default":
		return nil, nil //nolint:nilnil // null is a value here
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		return nil, errors.New("a number from 0, unlimited or default")
	}
	return n, nil
}

type tenantUpgradeCmd struct {
	Community     string `arg:"" help:"ID that messages carry."`
	Tier          string `arg:"" help:"New tier: free, pro or enterprise."`
	KeepOverrides bool   `help:"Keep the tenant's own features and limits, which are otherwise given back to the new tier."`
	outputFlags
	redisSettings
}

func (c *tenantUpgradeCmd) Run(ctx context.Context, p process) error {
	tier := tenant.Tier(c.Tier)
	if err := (&tenant.Config{Tier: tier}).Validate(); err != nil {
		return usageError{err}
	}
	var options []store.UpgradeOption
	if c.KeepOverrides {
		options = append(options, store.KeepOverrides)
	}
	return withStore(ctx, p, &c.redisSettings, func(tenants *store.Store) error {
		config, _, err := tenants.UpgradeTier(ctx, c.Community, tier, options...)
		if err != nil {
			return err
		}
		return printTenant(p, c.outputFlags, tenants, c.Community, &config)
	})
}

type tenantDeleteCmd struct {
	Community string `arg:"" help:"ID that messages carry."`
	outputFlags
	redisSettings
}

func (c *tenantDeleteCmd) Run(ctx context.Context, p process) error {
	return withStore(ctx, p, &c.redisSettings, func(tenants *store.Store) error {
		if err := tenants.Delete(ctx, c.Community, ""); err != nil {
			return err
		}
		return c.print(p.stdout, map[string]string{"deleted": c.Community}, func(t *table) {
			t.row("deleted " + c.Community + ": it has the free tier now")
		})
	})
}
