package tenant

// highestWeight is the highest weight that a document may set.
const highestWeight = 100

func validateWeight(f *faults, field string, n *int64) {
	if n != nil && (*n < 1 || *n > highestWeight) {
		f.add(field, "must be from 1 to %d", highestWeight)
	}
}

// weight is the weight of a tenant with these features. A weight of its own counts, or else one that the document gives
// its tier. Without either it is the default of the tier, and twice that for a tenant that has priority support although
// its tier does not have it by default. (The 4 of enterprise counts it already.)
func (t *Tiers) weight(tier Tier, features Features, own *int64) int {
	builtin, o := t.of(tier)
	switch {
	case own != nil:
		return int(*own)
	case o.Weight != nil:
		return int(*o.Weight)
	case features&^builtin.Features&PrioritySupport != 0:
		return 2 * builtin.Weight
	default:
		return builtin.Weight
	}
}
