package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"arrakis/shard"
	"arrakis/tenant"
	"arrakis/tenant/store"
)

type tenantBoostCmd struct {
	Community    string         `arg:"" help:"ID that messages carry."`
	Commands     *int           `placeholder:"+N" help:"Commands a minute to add, such as +500."`
	Checks       *int           `placeholder:"+N" help:"Eligibility checks an hour to add."`
	Syncs        *int           `placeholder:"+N" help:"Sync requests a day to add."`
	UserCommands *int           `placeholder:"+N" help:"Commands a minute of each user to add."`
	For          *time.Duration `placeholder:"TIME" min:"1s" max:"744h" help:"How long the boost lasts: 1s to 744h (31 days), such as 2h."`
	End          bool           `help:"End all boosts of the tenant now."`
	storeFlags
}

func (*tenantBoostCmd) Help() string {
	return `A boost adds to the limit that is in force otherwise, and ends by itself, on all workers at the same time by the clock of Redis. A limit has one boost: another one replaces it. "arrakis usage <community>" shows what is left.`
}

func (c *tenantBoostCmd) validate(process) error {
	if err := tenant.CheckID(c.Community); err != nil {
		return err
	}
	limits := c.limits()
	switch {
	case c.End && (limits.Any() || c.For != nil):
		return errors.New("--end ends all boosts: give no other flag with it")
	case c.End:
		return nil
	case !limits.Any():
		return errors.New("nothing to boost: give a limit, such as --commands=+500, or --end")
	case c.For == nil:
		return errors.New("--for is missing: say how long the boost lasts, such as --for=2h")
	}
	return nil
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
		request := tenant.BoostRequest{RateLimits: c.limits(), For: c.For.String()}
		return tenants.Boost(ctx, c.Community, request, store.PutOptions{})
	})
}

// limits are what the flags add to the limits.
func (c *tenantBoostCmd) limits() tenant.LimitOverrides {
	added := func(n *int) *int64 {
		if n == nil {
			return nil
		}
		return new(int64(*n))
	}
	return tenant.LimitOverrides{
		CommandsPerMinute: added(c.Commands), EligibilityChecksPerHour: added(c.Checks),
		SyncRequestsPerDay: added(c.Syncs), UserCommandsPerMinute: added(c.UserCommands),
	}
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
	if o == nil {
		return ""
	}
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
