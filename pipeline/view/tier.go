package view

import (
	"fmt"
	"time"

	"arrakis/shard"
	"arrakis/tenant"
)

// TierText says for people which tier is in force, and whether it was set by hand or bought; bought is the entitlement that
// gives a tier, nil for none. It is for a community with a config.
func TierText(tier tenant.Setting[tenant.Tier], bought *shard.ExplainedEntitlement) string {
	switch {
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

func boughtText(b *shard.ExplainedEntitlement) string {
	text := fmt.Sprintf("%s from an entitlement: SKU %s", b.Tier, b.SKU)
	if !b.EndsAt.IsZero() {
		text += ", ends " + b.EndsAt.UTC().Format(time.RFC3339)
	}
	return text
}
