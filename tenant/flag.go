package tenant

import (
	"maps"
	"slices"

	"github.com/cespare/xxhash/v2"
	"github.com/go-json-experiment/json/jsontext"
)

const maxDescription = 1024 // bytes

// Flag switches a feature on for some tenants. [Flag.On] has the rules.
type Flag struct {
	ID          string `json:"id"`
	Description string `json:"description,omitempty"`
	Enabled     bool   `json:"enabled"`
	// Tiers are the tiers that have the flag. Empty means all.
	Tiers       []Tier          `json:"tiers,omitempty"`
	Communities FlagCommunities `json:"communities,omitempty"`
	// RolloutPercent is the share of communities that have the flag, from 0 to 100. nil means all.
	RolloutPercent *float64 `json:"rolloutPercent,omitempty"`
	// Unknown holds the members that arrakis does not know, as in [Config].
	Unknown jsontext.Value `json:",embed"`
}

// FlagCommunities are exceptions for single communities, by ID.
type FlagCommunities struct {
	Include []string       `json:"include,omitempty"`
	Exclude []string       `json:"exclude,omitempty"`
	Unknown jsontext.Value `json:",embed"`
}

// ParseFlag reads a flag that a user gives, as strictly as [ParseConfig].
func ParseFlag(data []byte) (Flag, error) { return parse[Flag](data, true) }

// Validate reports the faults for which a store refuses the flag. The error is as for [ParseFlag].
func (f *Flag) Validate() error { return validate(f) }

func (f *Flag) validate(all *faults) {
	switch {
	case f.ID == "":
		all.add("id", "is missing")
	case !ValidFlagID(f.ID):
		all.add("id", "must be 1 to 128 letters, digits, '_', '.' or '-'")
	}
	if len(f.Description) > maxDescription {
		all.add("description", "holds %d bytes, at most %d are accepted", len(f.Description), maxDescription)
	}
	for _, t := range f.Tiers {
		if !t.known() {
			all.add("tiers", "has the unknown tier %q; use %s", shorten(string(t)), tierNames)
		}
	}
	validateIDs(all, "communities.include", f.Communities.Include)
	validateIDs(all, "communities.exclude", f.Communities.Exclude)
	if p := f.RolloutPercent; p != nil && !(*p >= 0 && *p <= 100) { // also true for NaN
		all.add("rolloutPercent", "must be from 0 to 100")
	}
}

func validateIDs(all *faults, field string, ids []string) {
	for _, id := range ids {
		if !ValidID(id) {
			all.add(field, "has %q; IDs are 1 to 128 letters, digits, '_', ':' or '-'", shorten(id))
		}
	}
}

// ValidFlagID reports whether s can be the ID of a flag:
// [A-Za-z0-9_.-]{1,128}.
func ValidFlagID(s string) bool {
	if s == "" || len(s) > maxID {
		return false
	}
	for i := range len(s) {
		if c := s[i]; c == ':' || c != '.' && !ValidID(s[i:i+1]) {
			return false
		}
	}
	return true
}

// On reports whether a tenant has the flag. The first rule that applies decides:
//
//  1. The flag is disabled: off.
//  2. The community is excluded: off.
//  3. The community is included: on.
//  4. The flag names tiers, and the tenant's tier is not one of them: off.
//  5. The flag has a rollout: on for that share of communities. A hash of the
//     flag's and the community's ID picks them, so that a community keeps the
//     flag while the percentage grows, and each flag picks other communities.
//  6. Otherwise: on.
func (f *Flag) On(t *Tenant) bool {
	on, _ := f.decide(t)
	return on
}

// Rule is a rule of [Flag.On], in their order.
type Rule string

// The rules.
const (
	RuleDisabled Rule = "disabled"
	RuleExcluded Rule = "excluded"
	RuleIncluded Rule = "included"
	RuleTier     Rule = "tier"
	RuleRollout  Rule = "rollout"
	RuleOn       Rule = "on"
)

// decide is On, with the rule that decides.
func (f *Flag) decide(t *Tenant) (on bool, rule Rule) {
	switch {
	case !f.Enabled:
		return false, RuleDisabled
	case slices.Contains(f.Communities.Exclude, t.ID):
		return false, RuleExcluded
	case slices.Contains(f.Communities.Include, t.ID):
		return true, RuleIncluded
	case len(f.Tiers) > 0 && !slices.Contains(f.Tiers, t.Tier):
		return false, RuleTier
	case f.RolloutPercent != nil:
		return rolloutAt(f.ID, t.ID) < *f.RolloutPercent, RuleRollout
	}
	return true, RuleOn
}

// FlagDecision says whether a tenant has a flag, and which rule of [Flag.On] decided it.
type FlagDecision struct {
	ID   string `json:"id"`
	On   bool   `json:"on"`
	Rule Rule   `json:"rule"`
}

// rolloutAt is the rollout percentage above which a community has a flag. It is made of the upper 53 bits of the XXH64
// of both IDs, and is evenly spread over [0, 100). No version of arrakis may change this function.
func rolloutAt(flag, community string) float64 {
	h := xxhash.Sum64String(flag + "\x00" + community)
	return float64(h>>11) / (1 << 53) * 100
}

// Flags is a set of flags. It is immutable and may be shared by goroutines. nil is the empty set.
type Flags struct {
	byID []*Flag // sorted by ID
}

// NewFlags makes a set of flags, which must be valid. If two flags have the same ID, it keeps the later one.
func NewFlags(flags ...Flag) *Flags {
	byID := make(map[string]*Flag, len(flags))
	for _, f := range flags {
		byID[f.ID] = &f
	}
	set := &Flags{byID: make([]*Flag, 0, len(byID))}
	for _, id := range slices.Sorted(maps.Keys(byID)) {
		set.byID = append(set.byID, byID[id])
	}
	return set
}

// Enabled lists the IDs of the flags that a tenant has, sorted. It evaluates every flag.
func (s *Flags) Enabled(t *Tenant) []string {
	if s == nil {
		return nil
	}
	var ids []string
	for _, f := range s.byID {
		if f.On(t) {
			ids = append(ids, f.ID)
		}
	}
	return ids
}

// decide evaluates every flag.
func (s *Flags) decide(t *Tenant) []FlagDecision {
	if s == nil {
		return nil
	}
	decisions := make([]FlagDecision, len(s.byID))
	for i, f := range s.byID {
		on, rule := f.decide(t)
		decisions[i] = FlagDecision{f.ID, on, rule}
	}
	return decisions
}
