package tenant

import "slices"

// Tier is the plan that a community has subscribed to. It sets the defaults of the community's features and limits.
type Tier string

// The tiers. A community without a config is Free.
const (
	Free       Tier = "free"
	Pro        Tier = "pro"
	Enterprise Tier = "enterprise"
)

const tierNames = "free, pro or enterprise"

// Above reports whether t is a higher tier than other.
func (t Tier) Above(other Tier) bool { return t.rank() > other.rank() }

// rank orders the tiers from Free up.
func (t Tier) rank() int { return slices.Index([]Tier{Free, Pro, Enterprise}, t) }

func (t Tier) known() bool { return t == Free || t == Pro || t == Enterprise }

func validateTier(f *faults, field string, t Tier) {
	switch {
	case t == "":
		f.add(field, "is missing; use %s", tierNames)
	case !t.known():
		f.add(field, "is unknown: %q; use %s", shorten(string(t)), tierNames)
	}
}

// Features is a set of features, one bit each. The zero value is the empty set.
type Features uint8

// The features of the contract.
const (
	CustomBranding Features = 1 << iota
	AdvancedAnalytics
	PrioritySupport
	UnlimitedCommands
)

// numFeatures is the number of features, and prioritySupport the place of that one in their order.
const numFeatures, prioritySupport = 4, 2

// featureNames are in the order of the constants.
var featureNames = [numFeatures]string{"customBranding", "advancedAnalytics", "prioritySupport", "unlimitedCommands"}

// Names lists the features of the set by their JSON names, in the order of the contract: customBranding,
// advancedAnalytics, prioritySupport, unlimitedCommands.
func (f Features) Names() []string {
	var names []string
	for i, name := range featureNames {
		if f&(1<<i) != 0 {
			names = append(names, name)
		}
	}
	return names
}
