package pipeline

import (
	"context"
	"slices"
	"time"

	"arrakis/shard"
	"arrakis/tenant"
)

// Reload puts a change of configuration in force in this process. The owner of
// the [tenant.Watcher] hands all its events here. When Reload returns, the change
// counts for every message that is put into a shard from now on; a global
// change reaches all tenants within a second. An error is ctx's.
func (p *Pipeline) Reload(ctx context.Context, e tenant.Event) error {
	switch e.Type {
	case tenant.GlobalChanged, tenant.FlagChanged:
		p.refresh(ctx)
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

// refresh reads what all tenants have in common: tiers and flags. On an error
// those in force stay, and keepFresh tries again. Two that run at once would
// let the older reading win: one waits for the other.
func (p *Pipeline) refresh(ctx context.Context) {
	p.refreshing.Lock()
	defer p.refreshing.Unlock()
	var flags *tenant.Flags
	err := p.o.Limiter.Guard(ctx, func(ctx context.Context) (err error) {
		if flags, err = p.o.Tenants.Flags(ctx); err != nil {
			return err
		}
		return p.o.Tenants.RefreshTiers(ctx)
	})
	if flags != nil {
		p.flags.Store(flags)
	}
	if failed := err != nil; p.outdated.Swap(failed) != failed && ctx.Err() == nil {
		if failed {
			p.log.ErrorContext(ctx, "tiers and feature flags in force stay until they can be read", "err", err)
		} else {
			p.log.InfoContext(ctx, "tiers and feature flags can be read again")
		}
	}
}

// keepFresh repeats a refresh that has failed, until ctx ends.
func (p *Pipeline) keepFresh(ctx context.Context) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			if p.outdated.Load() {
				p.refresh(ctx)
			}
		}
	}
}

// features are the names of a tenant's features and of the flags that are on
// for it, sorted.
func (p *Pipeline) features(t *tenant.Tenant) []string {
	all := append(t.Features.Names(), p.flags.Load().Enabled(t)...)
	slices.Sort(all)
	return slices.Compact(all)
}
