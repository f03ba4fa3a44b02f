package console

import (
	"cmp"

	"arrakis/tenant"
)

// boostRow is a boost of the config. It may have ended: Redis's clock says so, and the next write drops it.
type boostRow struct {
	tenant.BoostOverride
	Name  string // of the limit in documents
	Label string
}

func boostsOf(config *tenant.Config) []boostRow {
	var rows []boostRow
	if config == nil || config.Boosts == nil {
		return nil
	}
	for action, b := range config.Boosts.Fields() {
		if b.Add > 0 {
			rows = append(rows, boostRow{BoostOverride: *b, Name: limitNames[action].name, Label: limitNames[action].label})
		}
	}
	return rows
}

// limitNames are the names of the limits, in documents and for people, by action.
var limitNames = [tenant.NumActions]struct{ name, label string }{
	tenant.Command:          {"commandsPerMinute", "Commands a minute"},
	tenant.EligibilityCheck: {"eligibilityChecksPerHour", "Checks an hour"},
	tenant.SyncRequest:      {"syncRequestsPerDay", "Syncs a day"},
	tenant.UserCommand:      {"userCommandsPerMinute", "Each user's commands a minute"},
}

// tenantForm has the fields with which a config is changed.
type tenantForm struct {
	overridesForm
	Tier     tenant.Tier // without the account
	TierLeft bool        // what was bought on Discord says the tier
	// CanLeaveTier: the tier is set by hand, and could be left to that.
	CanLeaveTier bool
	Account      string // "" for none
}

// newTenantForm makes the form of a tenant that is in the account, nil for none.
func (c *console) newTenantForm(d *tenantDetail, account *tenant.Account) tenantForm {
	config := cmp.Or(d.Config, &tenant.Config{Tier: tenant.Free})
	tiers := c.tenants.Tiers()
	f := tenantForm{Tier: d.Tenant.Tier, TierLeft: config.TierFrom == tenant.FromEntitlement, Account: config.Account}
	if set := d.Tenant.TierSetting; set.Source == tenant.FromAccount {
		f.Tier = set.Beneath[0].Value
	}
	f.CanLeaveTier = d.Config != nil && !f.TierLeft && (len(config.Entitlements) > 0 || len(tiers.SKUs) > 0)
	if account != nil {
		f.overridesForm = newOverridesForm(config, tiers.In(account), "account")
	} else {
		f.overridesForm = newOverridesForm(config, tiers.Of(d.Tenant.Tier), "tier")
	}
	return f
}
