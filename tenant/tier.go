package tenant

// Tier is the plan that a community has subscribed to. It sets the defaults of the community's features and limits.
type Tier string

// The tiers. A community without a config is Free.
const (
	Free       Tier = "free"
	Pro        Tier = "pro"
	Enterprise Tier = "enterprise"
)

const tierNames = "free, pro or enterprise"

func (t Tier) known() bool { return t == Free || t == Pro || t == Enterprise }

// Features is a set of features, one bit each. The zero value is the empty set.
type Features uint8

// The features of the contract.
const (
	CustomBranding Features = 1 << iota
	AdvancedAnalytics
	PrioritySupport
	UnlimitedCommands
)

// featureNames are in the order of the constants.
var featureNames = [...]string{"customBranding", "advancedAnalytics", "prioritySupport", "unlimitedCommands"}

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

// with returns the set with a feature switched on or off. If on is nil, it returns the set unchanged.
func (f Features) with(bit Features, on *bool) Features {
	switch {
	case on == nil:
		return f
	case *on:
		return f | bit
	default:
		return f &^ bit
	}
}
