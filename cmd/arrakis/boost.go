package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"arrakis/shard"
	"arrakis/tenant"
	"arrakis/tenant/store"
)

type tenantBoostCmd struct {
	Community    string `arg:"" help:"ID that messages carry."`
	Commands     string `placeholder:"+N" help:"Commands a minute to add, such as +500."`
	Checks       string `placeholder:"+N" help:"Eligibility checks an hour to add."`
	Syncs        string `placeholder:"+N" help:"Sync requests a day to add."`
	UserCommands string `placeholder:"+N" help:"Commands a minute of each user to add."`
	For          string `placeholder:"TIME" help:"How long the boost lasts: 1s to 744h (31 days), such as 2h."`
	End          bool   `help:"End all boosts of the tenant now."`
	storeFlags
}

func (*tenantBoostCmd) Help() string {
	return `A boost adds to the limit that is in force otherwise, and ends by itself, on all workers at the same time by the clock of Redis. A limit has one boost: another one replaces it. "arrakis usage <community>" shows what is left.`
}

func (c *tenantBoostCmd) validate(process) error {
	if err := tenant.CheckID(c.Community); err != nil {
		return err
	}
	request, err := c.request()
	if err != nil {
		return err
	}
	if c.End {
		if request.RateLimits.Any() || c.For != "" {
			return errors.New("--end ends all boosts: give no other flag with it")
		}
		return nil
	}
	if !request.RateLimits.Any() {
		return errors.New("nothing to boost: give a limit, such as --commands=+500, or --end")
	}
	if c.For == "" {
		return errors.New("--for is missing: say how long the boost lasts, such as --for=2h")
	}
	return request.Validate()
}

func (c *tenantBoostCmd) Run(ctx context.Context, p process) error {
	return c.showTenant(ctx, p, c.Community, func(tenants *store.Store) (tenant.Config, store.Version, error) {
		if c.End {
			config, version, err := tenants.EndBoosts(ctx, c.Community, store.PutOptions{})
			if errors.Is(err, store.ErrNotFound) {
				return config, version, fmt.Errorf("no limit of %q is boosted, or the boosts have ended: there is nothing to end", c.Community)
			}
			return config, version, err
		}
		request, err := c.request()
		if err != nil {
			return tenant.Config{}, "", err
		}
		return tenants.Boost(ctx, c.Community, request, store.PutOptions{})
	})
}

// request makes the request of the flags.
func (c *tenantBoostCmd) request() (tenant.BoostRequest, error) {
	r := tenant.BoostRequest{For: c.For}
	var errs []error
	for _, n := range []struct {
		flag, value string
		add         **int64
	}{
		{"commands", c.Commands, &r.RateLimits.CommandsPerMinute},
		{"checks", c.Checks, &r.RateLimits.EligibilityChecksPerHour},
		{"syncs", c.Syncs, &r.RateLimits.SyncRequestsPerDay},
		{"user-commands", c.UserCommands, &r.RateLimits.UserCommandsPerMinute},
	} {
		if n.value == "" {
			continue
		}
		add, err := strconv.ParseInt(n.value, 10, 64) // takes a plus
		if err != nil {
			errs = append(errs, fmt.Errorf("--%s is %q: expected a number such as +500", n.flag, n.value))
		}
		*n.add = &add
	}
	return r, errors.Join(errs...)
}

// leftText is for people for how long a boost still lasts.
func leftText(b *shard.Boost) string {
	if b == nil {
		return "-"
	}
	return fmt.Sprintf("+%d for %s", b.Add, short(milliseconds(b.LeftMS)))
}

// boostText is the boost of a limit for people. It goes behind the text of the limit.
func boostText(o *tenant.BoostOverrides, resolved *tenant.Tenant, a tenant.Action) string {
	b := o.Fields()[a]
	switch {
	case b.Add == 0:
		return ""
	case resolved.Max[a] < 0:
		return ", a boost has no effect"
	default:
		return fmt.Sprintf(", +%d until %s", b.Add, when(b.Until))
	}
}
