package pipeline

import (
	"context"
	"slices"

	"arrakis/shard"
	"arrakis/tenant"
)

// Reload puts a change of configuration in force in this process. The owner of
// the [tenant.Watcher] hands all its events here. When Reload returns, the change
// counts for every message that is put into a shard from now on; a global
// change reaches all tenants within a second. An error is ctx's.
func (p *Pipeline) Reload(ctx context.Context, e tenant.Event) error {
	switch e.Type {
	case tenant.GlobalChanged:
		p.refresh(ctx)
	case tenant.FlagChanged:
		p.refreshFlags(ctx)
	case tenant.LimitReset:
		if community, actions, ok := e.Reset(); ok {
			for _, a := range actions {
				p.forgetLocal(community, a)
			}
		}
	case tenant.TenantChanged: // is the shards' alone
	}
	return p.shards.Notify(ctx, e)
}

// forgetLocal drops what this process's limiter knows of an action of a
// community; of user_command that are the keys of all its users.
func (p *Pipeline) forgetLocal(community string, a tenant.Action) {
	if a == tenant.UserCommand {
		p.o.Limiter.ForgetLocalPrefix(shard.UserKey(community, ""))
		return
	}
	p.o.Limiter.ForgetLocal(shard.Key(community, a))
}

// refresh reads what all tenants have in common.
func (p *Pipeline) refresh(ctx context.Context) {
	if err := p.o.Tenants.RefreshTiers(ctx); err != nil {
		p.log.ErrorContext(ctx, "the tiers in force stay", "err", err)
	}
	p.refreshFlags(ctx)
}

// refreshFlags reads the feature flags. On an error those in force stay.
func (p *Pipeline) refreshFlags(ctx context.Context) {
	flags, err := p.o.Tenants.Flags(ctx)
	if err != nil {
		p.log.ErrorContext(ctx, "the feature flags in force stay", "err", err)
		return
	}
	p.flags.Store(flags)
}

// features are the names of a tenant's features and of the flags that are on
// for it, sorted.
func (p *Pipeline) features(t *tenant.Tenant) []string {
	all := append(t.Features.Names(), p.flags.Load().Enabled(t)...)
	slices.Sort(all)
	return slices.Compact(all)
}
