package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/redis/go-redis/v9"

	"arrakis/pipeline/discord/botapi"
	"arrakis/pipeline/discord/premium"
	"arrakis/tenant/store"
)

type discordReconcileCmd struct {
	Apply bool `help:"Take over what Discord lists."`
	discordBot
	storeFlags
}

func (*discordReconcileCmd) Help() string {
	return `Interactions and events of Discord say who has bought what; this is for what was missed while no worker ran. A difference is one of these. ` +
		`missing: Discord lists an entitlement that is not in force here. ended: Discord does not list it any more. changed: it ends at another time. ` +
		`held: a lower tier counts, which was set by hand, until "arrakis tenant set <community> --tier auto", or is that of the account. unusable: the config cannot be used. ` +
		`The exit code is 1 if there are differences that are not mended, but for what is held.`
}

func (c *discordReconcileCmd) validate(process) error { return c.discordBot.validate() }

func (c *discordReconcileCmd) Run(ctx context.Context, p process) error {
	client, err := botapi.New(c.APIURL, c.BotToken)
	if err != nil {
		return usageError{err}
	}
	defer client.Close()
	return c.withTiers(ctx, p, func(_ redis.UniversalClient, tenants *store.Store) error {
		report, err := premium.Reconcile(ctx, tenants, client.Entitlements(ctx, c.ApplicationID, ""), time.Now(), c.Apply)
		if err != nil {
			return explainDiscord(err)
		}
		if err := c.print(p.stdout, report, func(t *table) { reconcileTable(t, &report) }); err != nil {
			return err
		}
		if report.Left() > 0 {
			return errSilent
		}
		return nil
	})
}

func reconcileTable(t *table, r *premium.Report) {
	if len(r.Differences) > 0 {
		t.row("COMMUNITY", "DIFFERENCE", "ENTITLEMENT", "TIER")
		for i := range r.Differences {
			d := &r.Differences[i]
			t.row(d.Community, string(d.Kind), d.Entitlement, string(d.Tier))
		}
		t.flush()
	}
	for _, sku := range slices.Sorted(maps.Keys(r.Unmapped)) {
		t.row(fmt.Sprintf("SKU %s gives no tier, and was bought %s: `arrakis discord sku set`", sku, plural(r.Unmapped[sku], "time")))
	}
	text := fmt.Sprintf("%s compared, %s", plural(r.Communities, "tenant"), plural(len(r.Differences), "difference"))
	switch left := r.Left(); {
	case r.Mended > 0:
		text += fmt.Sprintf(", %d mended", r.Mended)
	case left > 0:
		text += ": --apply takes over what Discord lists"
	}
	t.row(text)
}
