package view

import (
	"fmt"
	"time"

	"arrakis/shard"
	"arrakis/tenant"
)

// TierText says for people which tier is in force, and whether it is the account's, was set by hand or bought; account is
// nil for a community in none, and bought is the entitlement that gives a tier, nil for none. It is for a community with a
// config.
func TierText(tier tenant.Setting[tenant.Tier], account *tenant.Membership, bought *shard.ExplainedEntitlement) string {
	switch {
	case tier.Source == tenant.FromAccount:
		return accountTierText(tier, account, bought)
	case tier.Source == tenant.FromEntitlement:
		return boughtText(bought)
	case tier.Source == tenant.FromDefault:
		return fmt.Sprintf("%s: no entitlement gives another", tier.Value)
	case bought != nil:
		return fmt.Sprintf("%s, set by hand, over %s", tier.Value, boughtText(bought))
	default:
		return fmt.Sprintf("%s, set by hand", tier.Value)
	}
}

// accountTierText names what an account overrides if that is a higher tier: somebody may have paid for it.
func accountTierText(tier tenant.Setting[tenant.Tier], account *tenant.Membership, bought *shard.ExplainedEntitlement) string {
	text := fmt.Sprintf("%s from the account %s", tier.Value, account.ID)
	for _, b := range tier.Beneath {
		switch {
		case !b.Value.Above(tier.Value):
		case b.Source == tenant.FromEntitlement:
			return text + ", over " + boughtText(bought)
		default:
			return fmt.Sprintf("%s, over %s, set by hand", text, b.Value)
		}
	}
	return text
}

func boughtText(b *shard.ExplainedEntitlement) string {
	text := fmt.Sprintf("%s from an entitlement: SKU %s", b.Tier, b.SKU)
	if !b.EndsAt.IsZero() {
		text += ", ends " + b.EndsAt.UTC().Format(time.RFC3339)
	}
	return text
}
