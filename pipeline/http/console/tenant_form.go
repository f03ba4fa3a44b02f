package console

import (
	"cmp"
	"strconv"

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

// tenantForm has the fields with which a config is changed. A field that is empty leaves the matter to the tier.
type tenantForm struct {
	Limits   []limitField
	Choices  []choiceField
	Features []choiceField
	Tier     tenant.Tier
	TierLeft bool // what was bought on Discord says the tier
	// CanLeaveTier: the tier is set by hand, and could be left to that.
	CanLeaveTier bool
	Tiers        []tenant.Tier
	Weight       limitField
	Delayed      limitField
}

// limitField is a field for a number.
type limitField struct {
	Name, Label string
	Own         string // what the config says, "" for nothing
	Tier        string // what the tier says
}

// choiceField is a field with a few choices.
type choiceField struct {
	Name, Label string
	Own         string
	Tier        string
	Choices     []choice
	Boolean     bool
	Mixed       bool // the config says more than the field can show; it is left alone
}

type choice struct{ Value, Label string }

func (c *console) newTenantForm(d *tenantDetail) tenantForm {
	config := cmp.Or(d.Config, &tenant.Config{Tier: tenant.Free})
	tiers := c.tenants.Tiers()
	tier := tiers.Of(d.Tenant.Tier)
	f := tenantForm{
		Tier: d.Tenant.Tier, TierLeft: config.TierFrom == tenant.FromEntitlement,
		Tiers: []tenant.Tier{tenant.Free, tenant.Pro, tenant.Enterprise},
	}
	f.CanLeaveTier = d.Config != nil && !f.TierLeft && (len(config.Entitlements) > 0 || len(tiers.SKUs) > 0)
	limits := &config.RateLimits
	for action, own := range [tenant.NumActions]*int64{
		tenant.Command: limits.CommandsPerMinute, tenant.EligibilityCheck: limits.EligibilityChecksPerHour,
		tenant.SyncRequest: limits.SyncRequestsPerDay, tenant.UserCommand: limits.UserCommandsPerMinute,
	} {
		l := limitNames[action]
		f.Limits = append(f.Limits, limitField{"rateLimits." + l.name, l.label, numberText(own), limitText(tier.Max[action])})
	}
	f.Weight = limitField{"weight", "Weight", numberText(config.Weight), strconv.Itoa(tier.Weight)}
	f.Delayed = limitField{"maxDelayed", "Delayed of each action", numberText(config.MaxDelayed), strconv.FormatInt(cmp.Or(tier.MaxDelayed, 100), 10)}
	f.Choices = []choiceField{modeField(config, &tier), onLimitField(config, &tier)}
	own := &config.Features
	for _, x := range []struct {
		name, label string
		own         *bool
		bit         tenant.Features
	}{
		{"customBranding", "Custom branding", own.CustomBranding, tenant.CustomBranding},
		{"advancedAnalytics", "Advanced analytics", own.AdvancedAnalytics, tenant.AdvancedAnalytics},
		{"prioritySupport", "Priority support", own.PrioritySupport, tenant.PrioritySupport},
		{"unlimitedCommands", "Unlimited commands", own.UnlimitedCommands, tenant.UnlimitedCommands},
	} {
		field := choiceField{
			Name: "features." + x.name, Label: x.label, Boolean: true, Tier: onOff(tier.Features&x.bit != 0),
			Choices: []choice{{"true", "On"}, {"false", "Off"}},
		}
		if x.own != nil {
			field.Own = strconv.FormatBool(*x.own)
		}
		f.Features = append(f.Features, field)
	}
	return f
}

func modeField(config *tenant.Config, tier *tenant.TierDefaults) choiceField {
	f := choiceField{
		Name: "mode", Label: "Mode", Tier: string(tenant.Enforce),
		Choices: []choice{{string(tenant.Enforce), "Enforce"}, {string(tenant.Shadow), "Shadow"}},
	}
	if tier.Shadow {
		f.Tier = string(tenant.Shadow)
	}
	if config.Mode != nil {
		f.Own = string(*config.Mode)
	}
	return f
}

// onLimitField is one field for all actions. A config that says something else for each is left alone.
func onLimitField(config *tenant.Config, tier *tenant.TierDefaults) choiceField {
	f := choiceField{
		Name: "onLimit", Label: "Over the limit", Tier: "as the tier says",
		Choices: []choice{{string(tenant.Reject), "Reject"}, {string(tenant.Delay), "Delay"}},
	}
	if d := tier.Delay; d[tenant.Command] == d[tenant.EligibilityCheck] && d[tenant.Command] == d[tenant.SyncRequest] {
		f.Tier = string(tenant.Reject)
		if d[tenant.Command] {
			f.Tier = string(tenant.Delay)
		}
	}
	o := &config.OnLimit
	switch {
	case o.Command == nil && o.EligibilityCheck == nil && o.SyncRequest == nil:
	case o.Command != nil && o.EligibilityCheck != nil && o.SyncRequest != nil && *o.Command == *o.EligibilityCheck && *o.Command == *o.SyncRequest:
		f.Own = string(*o.Command)
	default:
		f.Mixed = true
	}
	return f
}

func numberText(n *int64) string {
	if n == nil {
		return ""
	}
	return strconv.FormatInt(*n, 10)
}

func onOff(on bool) string {
	if on {
		return "on"
	}
	return "off"
}
