package console

import (
	"cmp"
	"strconv"

	"arrakis/tenant"
)

// overridesForm has the fields with which a tenant's config or an account is changed. A field that is empty leaves the
// matter to the account or the tier.
type overridesForm struct {
	Limits   []limitField
	Choices  []choiceField
	Features []choiceField
	Tiers    []tenant.Tier
	Weight   limitField
	Delayed  limitField
}

// limitField is a field for a number.
type limitField struct {
	Name, Label string
	Own         string // what the document says, "" for nothing
	Otherwise   string // what is in force if it says nothing
	Whose       string // that is: the tier's or the account's
}

// choiceField is a field with a few choices.
type choiceField struct {
	Name, Label string
	Own         string
	Otherwise   string
	Whose       string
	Choices     []choice
	Boolean     bool
	Mixed       bool // the document says more than the field can show; it is left alone
}

type choice struct{ Value, Label string }

// newOverridesForm makes the fields for what config sets. otherwise is what is in force if it sets nothing, and whose says
// who says that.
func newOverridesForm(config *tenant.Config, otherwise tenant.TierDefaults, whose string) overridesForm {
	f := overridesForm{Tiers: []tenant.Tier{tenant.Free, tenant.Pro, tenant.Enterprise}}
	limits := &config.RateLimits
	for action, own := range [tenant.NumActions]*int64{
		tenant.Command: limits.CommandsPerMinute, tenant.EligibilityCheck: limits.EligibilityChecksPerHour,
		tenant.SyncRequest: limits.SyncRequestsPerDay, tenant.UserCommand: limits.UserCommandsPerMinute,
	} {
		l := limitNames[action]
		f.Limits = append(f.Limits, limitField{"rateLimits." + l.name, l.label, numberText(own), limitText(otherwise.Max[action]), whose})
	}
	f.Weight = limitField{"weight", "Weight", numberText(config.Weight), strconv.Itoa(otherwise.Weight), whose}
	delayed := strconv.FormatInt(cmp.Or(otherwise.MaxDelayed, 100), 10)
	f.Delayed = limitField{"maxDelayed", "Delayed of each action", numberText(config.MaxDelayed), delayed, whose}
	f.Choices = []choiceField{modeField(config, &otherwise, whose), onLimitField(config, &otherwise, whose)}
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
			Name: "features." + x.name, Label: x.label, Boolean: true, Whose: whose, Otherwise: onOff(otherwise.Features&x.bit != 0),
			Choices: []choice{{"true", "On"}, {"false", "Off"}},
		}
		if x.own != nil {
			field.Own = strconv.FormatBool(*x.own)
		}
		f.Features = append(f.Features, field)
	}
	return f
}

func modeField(config *tenant.Config, otherwise *tenant.TierDefaults, whose string) choiceField {
	f := choiceField{
		Name: "mode", Label: "Mode", Whose: whose, Otherwise: string(tenant.Enforce),
		Choices: []choice{{string(tenant.Enforce), "Enforce"}, {string(tenant.Shadow), "Shadow"}},
	}
	if otherwise.Shadow {
		f.Otherwise = string(tenant.Shadow)
	}
	if config.Mode != nil {
		f.Own = string(*config.Mode)
	}
	return f
}

// onLimitField is one field for all actions. A config that says something else for each is left alone.
func onLimitField(config *tenant.Config, otherwise *tenant.TierDefaults, whose string) choiceField {
	f := choiceField{
		Name: "onLimit", Label: "Over the limit", Whose: whose, Otherwise: "differs by action",
		Choices: []choice{{string(tenant.Reject), "Reject"}, {string(tenant.Delay), "Delay"}},
	}
	if d := otherwise.Delay; d[tenant.Command] == d[tenant.EligibilityCheck] && d[tenant.Command] == d[tenant.SyncRequest] {
		f.Otherwise = string(tenant.Reject)
		if d[tenant.Command] {
			f.Otherwise = string(tenant.Delay)
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
