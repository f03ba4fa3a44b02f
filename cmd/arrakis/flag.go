package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"arrakis/pipeline/view"
	"arrakis/tenant"
	"arrakis/tenant/store"
)

type flagCmd struct {
	Get    flagGetCmd    `cmd:"" help:"Show a feature flag."`
	List   flagListCmd   `cmd:"" help:"List the feature flags."`
	Set    flagSetCmd    `cmd:"" help:"Create or change a feature flag."`
	Delete flagDeleteCmd `cmd:"" help:"Delete a feature flag. It is then off for everybody."`
}

type flagGetCmd struct {
	ID string `arg:"" help:"ID of the flag."`
	storeFlags
}

func (c *flagGetCmd) validate(process) error { return (&tenant.Flag{ID: c.ID}).Validate() }

func (c *flagGetCmd) Run(ctx context.Context, p process) error {
	return c.showFlag(ctx, p, c.ID, func(tenants *store.Store) (tenant.Flag, store.Version, error) { return tenants.GetFlag(ctx, c.ID) })
}

// showFlag prints the flag that f returns.
func (s *storeFlags) showFlag(ctx context.Context, p process, id string, f func(*store.Store) (tenant.Flag, store.Version, error)) error {
	return s.withStore(ctx, func(tenants *store.Store) error {
		flag, _, err := f(tenants)
		if err != nil {
			return nextStep(err, "arrakis flag set "+id+" --on")
		}
		return s.print(p.stdout, view.Flag(flag), func(t *table) {
			t.row("flag", flag.ID)
			if flag.Description != "" {
				t.row("description", flag.Description)
			}
			t.row("enabled", onOff(flag.Enabled))
			t.row("tiers", tiersText(flag.Tiers))
			t.row("rollout", rolloutText(flag.RolloutPercent))
			t.listRow("included", flag.Communities.Include)
			t.listRow("excluded", flag.Communities.Exclude)
		})
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
	storeFlags
}

func (c *flagListCmd) Run(ctx context.Context, p process) error {
	return c.withStore(ctx, func(tenants *store.Store) error {
		entries, err := tenants.ListFlags(ctx)
		if err != nil {
			return err
		}
		return c.print(p.stdout, view.NewFlags(entries, ""), func(t *table) { flagTable(t, entries) })
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
	On          bool     `xor:"enabled" help:"Enable the flag."`
	Off         bool     `xor:"enabled" help:"Disable the flag for everybody."`
	Description *string  `placeholder:"TEXT" help:"What the flag is for."`
	Tiers       []string `placeholder:"TIER" help:"Tiers that have the flag; the word all removes this condition."`
	Rollout     string   `placeholder:"PERCENT" help:"Percentage of communities that have the flag, 0 to 100; the word all removes this condition."`
	Include     []string `placeholder:"ID" help:"Communities that have the flag whatever their tier; the word none empties this list."`
	Exclude     []string `placeholder:"ID" help:"Communities that never have the flag; the word none empties this list."`
	storeFlags
}

// edit applies the flags of the command line that were given.
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
			f.Tiers = append(f.Tiers, tenant.Tier(name)) // Validate checks the name
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

// given returns a list from the command line. The single word empty means the empty list.
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
	return c.showFlag(ctx, p, c.ID, func(tenants *store.Store) (tenant.Flag, store.Version, error) { return c.update(ctx, tenants) })
}

// update edits the stored flag. If another writer was faster, it tries again.
func (c *flagSetCmd) update(ctx context.Context, tenants *store.Store) (tenant.Flag, store.Version, error) {
	for attempt := 1; ; attempt++ {
		f, version, err := tenants.GetFlag(ctx, c.ID)
		if errors.Is(err, store.ErrNotFound) {
			f, err = tenant.Flag{ID: c.ID}, nil
		}
		if err == nil {
			err = c.edit(&f)
		}
		if err != nil {
			return f, "", err
		}
		stored, v, err := tenants.PutFlag(ctx, f, store.PutOptions{IfMatch: version, IfNoneMatch: version == ""})
		if !errors.Is(err, store.ErrConflict) || attempt == 10 {
			return stored, v, err
		}
	}
}

type flagDeleteCmd struct {
	ID string `arg:"" help:"ID of the flag."`
	storeFlags
}

func (c *flagDeleteCmd) validate(process) error { return (&tenant.Flag{ID: c.ID}).Validate() }

func (c *flagDeleteCmd) Run(ctx context.Context, p process) error {
	return c.deleted(ctx, p, c.ID, "the flag is off for everybody now", func(tenants *store.Store) error {
		return tenants.DeleteFlag(ctx, c.ID, "")
	})
}
