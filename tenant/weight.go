package tenant

// highestWeight is the highest weight that a document may set.
const highestWeight = 100

func validateWeight(f *faults, field string, n *int64) {
	if n != nil && (*n < 1 || *n > highestWeight) {
		f.add(field, "must be from 1 to %d", highestWeight)
	}
}
