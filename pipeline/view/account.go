package view

import (
	"time"

	"arrakis/tenant"
)

// AccountText says for people in which account a community is, and what that means for its limits.
func AccountText(m *tenant.Membership) string {
	text := m.ID
	if m.Name != "" {
		text += " (" + m.Name + ")"
	}
	switch m.Counted {
	case tenant.Together:
		return text + ": limits are counted together for all of its communities"
	case tenant.Each:
		return text + ": limits are counted for this community alone"
	default:
		return text + ": there is no such account, so the config alone counts"
	}
}

// Member is a community that is in the account and has nothing of its own: it shows what the account gives.
func Member(id string, a *tenant.Account, tiers *tenant.Tiers) *tenant.Tenant {
	member := &tenant.Config{Tier: tenant.Free, Account: id}
	return tenant.Resolve("", tenant.Documents{Config: member, Account: a, Tiers: tiers}, time.Time{})
}
