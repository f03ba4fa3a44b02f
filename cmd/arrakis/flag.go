package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"

	jsonv2 "github.com/go-json-experiment/json"

	"arrakis/tenant"
	"arrakis/tenant/store"
)

type flagCmd struct {
	Get    flagGetCmd    `cmd:"" help:"Show a feature flag."`
	List   flagListCmd   `cmd:"" help:"List the feature flags."`
	Set    flagSetCmd    `cmd:"" help:"Create or change a feature flag."`
	Delete flagDeleteCmd `cmd:"" help:"Delete a feature flag, which is then off for everybody."`
}

type flagGetCmd struct {
	ID string `arg:"" help:"ID of the flag."`
	outputFlags
	redisSettings
}

func (c *flagGetCmd) Run(ctx context.Context, p process) error {
	return withStore(ctx, p, &c.redisSettings, func(tenants *store.Store) error {
		f, _, err := tenants.GetFlag(ctx, c.ID)
		if err != nil {
			return err
		}
		return printFlag(p, c.outputFlags, &f)
	})
}

func printFlag(p process, o outputFlags, f *tenant.Flag) error {
	document, err := jsonv2.Marshal(f)
	if err != nil {
		return err
	}
	return o.print(p.stdout, json.RawMessage(document), func(t *table) {
		t.row("flag", f.ID)
		if f.Description != "" {
			t.row("description", f.Description)
		}
		t.row("enabled", onOff(f.Enabled))
		t.row("tiers", tiersText(f.Tiers))
		t.row("rollout", rolloutText(f.RolloutPercent))
		t.row("included", list(f.Communities.Include))
		t.row("excluded", list(f.Communities.Exclude))
	})
}

func onOff(on bool) string {
	if on {
		return "on"
	}
	return "off"
}

func tiersText(tiers []tenant.Tier) string {
	if len(tiers) == 0 {
		return "all"
	}
	names := make([]string, len(tiers))
	for i, t := range tiers {
		names[i] = string(t)
	}
	return list(names)
}

func rolloutText(percent *float64) string {
	if percent == nil {
		return "all"
	}
	return strconv.FormatFloat(*percent, 'f', -1, 64) + " %"
}

type flagListCmd struct {
	outputFlags
	redisSettings
}

// listedFlag is one flag in the JSON of flag list.
type listedFlag struct {
	ID    string          `json:"id"`
	Flag  json.RawMessage `json:"flag,omitempty"`
	Error string          `json:"error,omitempty"` // why the flag cannot be used
}

func (c *flagListCmd) Run(ctx context.Context, p process) error {
	return withStore(ctx, p, &c.redisSettings, func(tenants *store.Store) error {
		entries, err := tenants.ListFlags(ctx)
		if err != nil {
			return err
		}
		listed := make([]listedFlag, len(entries))
		for i, e := range entries {
			listed[i].ID = e.ID
			if e.Err != nil {
				listed[i].Error = e.Err.Error()
			} else if listed[i].Flag, err = jsonv2.Marshal(&e.Flag); err != nil {
				return err
			}
		}
		return c.print(p.stdout, map[string]any{"flags": listed}, func(t *table) { flagTable(t, entries) })
	})
}

func flagTable(t *table, entries []store.FlagEntry) {
	if len(entries) == 0 {
		t.row("there are no flags: `arrakis flag set <id> --on` makes one")
		return
	}
	t.row("FLAG", "ENABLED", "TIERS", "ROLLOUT", "INCLUDED", "EXCLUDED", "DESCRIPTION")
	for _, e := range entries {
		if e.Err != nil {
			t.row(e.ID, "cannot be used: see `arrakis flag get "+e.ID+"`")
			continue
		}
		t.row(e.ID, onOff(e.Flag.Enabled), tiersText(e.Flag.Tiers), rolloutText(e.Flag.RolloutPercent),
			strconv.Itoa(len(e.Flag.Communities.Include)), strconv.Itoa(len(e.Flag.Communities.Exclude)), e.Flag.Description)
	}
}

type flagSetCmd struct {
	ID          string   `arg:"" help:"ID of the flag."`
	On          bool     `xor:"enabled" help:"Enable it."`
	Off         bool     `xor:"enabled" help:"Disable it for everybody."`
	Description *string  `placeholder:"TEXT" help:"What it is for."`
	Tiers       []string `placeholder:"TIER" help:"Tiers that have it; all for all of them."`
	Rollout     string   `placeholder:"PERCENT" help:"Share of communities that have it, 0 to 100; all for all of them."`
	Include     []string `placeholder:"ID" help:"Communities that have it whatever their tier; none for none."`
	Exclude     []string `placeholder:"ID" help:"Communities that do not have it; none for none."`
	outputFlags
	redisSettings
}

// edit applies what was given and leaves the rest.
func (c *flagSetCmd) edit(f *tenant.Flag) error {
	if c.On || c.Off {
		f.Enabled = c.On
	}
	if c.Description != nil {
		f.Description = *c.Description
	}
	if c.Tiers != nil {
		f.Tiers = nil
		for _, name := range given(c.Tiers, "all") {
			f.Tiers = append(f.Tiers, tenant.Tier(name)) // checked by Validate
		}
	}
	switch c.Rollout {
	case "":
	case "all":
		f.RolloutPercent = nil
	default:
		percent, err := strconv.ParseFloat(c.Rollout, 64)
		if err != nil {
			return fmt.Errorf("--rollout is %q: expected a number from 0 to 100, or all", c.Rollout)
		}
		f.RolloutPercent = &percent
	}
	if c.Include != nil {
		f.Communities.Include = given(c.Include, "none")
	}
	if c.Exclude != nil {
		f.Communities.Exclude = given(c.Exclude, "none")
	}
	return f.Validate()
}

// given is a list, of which the one word empty stands for the empty one.
func given(names []string, empty string) []string {
	if len(names) == 1 && names[0] == empty {
		return nil
	}
	return names
}

func (c *flagSetCmd) Run(ctx context.Context, p process) error {
	if err := c.edit(&tenant.Flag{ID: c.ID}); err != nil {
		return usageError{err}
	}
	return withStore(ctx, p, &c.redisSettings, func(tenants *store.Store) error {
		f, err := c.update(ctx, tenants)
		if err != nil {
			return err
		}
		return printFlag(p, c.outputFlags, &f)
	})
}

// update edits the stored flag, and does so again when another writer was
// faster.
func (c *flagSetCmd) update(ctx context.Context, tenants *store.Store) (tenant.Flag, error) {
	for attempt := 1; ; attempt++ {
		f, version, err := tenants.GetFlag(ctx, c.ID)
		switch {
		case errors.Is(err, store.ErrNotFound):
			f = tenant.Flag{ID: c.ID}
		case err != nil:
			return f, err
		}
		if err := c.edit(&f); err != nil {
			return f, err
		}
		stored, _, err := tenants.PutFlag(ctx, f, store.PutOptions{IfMatch: version, IfNoneMatch: version == ""})
		if !errors.Is(err, store.ErrConflict) || attempt == 10 {
			return stored, err
		}
	}
}

type flagDeleteCmd struct {
	ID string `arg:"" help:"ID of the flag."`
	outputFlags
	redisSettings
}

func (c *flagDeleteCmd) Run(ctx context.Context, p process) error {
	return withStore(ctx, p, &c.redisSettings, func(tenants *store.Store) error {
		if err := tenants.DeleteFlag(ctx, c.ID, ""); err != nil {
			return err
		}
		return c.print(p.stdout, map[string]string{"deleted": c.ID}, func(t *table) {
			t.row("deleted " + c.ID + ": it is off for everybody now")
		})
	})
}
