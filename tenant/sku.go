package tenant

import (
	"fmt"
	"maps"
	"slices"
)

const (
	// maxSKUs is how many SKUs a tiers document has at most.
	maxSKUs = 100
	// maxSnowflake is the number of digits of the largest ID of Discord.
	maxSnowflake = 20

	snowflakeRule = "must be 1 to 20 digits"
)

// CheckSKU returns a [*FieldError] if id cannot be the ID of a SKU.
func CheckSKU(id string) error {
	if validSnowflake(id) {
		return nil
	}
	return &FieldError{Field: "sku", Reason: fmt.Sprintf("%.64q %s", id, snowflakeRule)}
}

// validSnowflake reports whether s can be an ID that Discord gives.
func validSnowflake(s string) bool {
	if s == "" || len(s) > maxSnowflake {
		return false
	}
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return true
}

func validateSKUs(f *faults, field string, skus map[string]Tier) {
	if len(skus) > maxSKUs {
		f.add(field, "has %d SKUs, at most %d are accepted", len(skus), maxSKUs)
	}
	for _, id := range slices.Sorted(maps.Keys(skus)) {
		at := join(field, shorten(id))
		if !validSnowflake(id) {
			f.add(at, "is no SKU: its ID %s", snowflakeRule)
		}
		validateTier(f, at, skus[id])
	}
}
