package tenant

import (
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// maxLimit is the largest limit that a document may set. Larger numbers are refused, because their author probably
// means unlimited, which is -1.
const maxLimit = 1_000_000_000

// Config is a tenant's document. Features and limits that the document leaves out have the defaults of the tier.
type Config struct {
	// CommunityID is the community for limits, metrics and handlers. Several stored configs may name one community. If
	// empty, it is the ID under which the config is stored.
	CommunityID string `json:"communityId"`
	GuildID     string `json:"guildId,omitempty"`
	// Account is the account that the community is in, "" for none. Its document is an [Account].
	Account string `json:"account,omitempty"`
	// Tier counts if it was set by hand, which is if TierFrom is empty. Otherwise it is what the entitlements gave when the
	// config was written. In an [Account], neither counts.
	Tier Tier `json:"tier"`
	// TierFrom is FromEntitlement if the entitlements say the tier: the highest of those that are in force, else Free.
	TierFrom   Source           `json:"tierFrom,omitempty"`
	Features   FeatureOverrides `json:"features"`
	RateLimits LimitOverrides   `json:"rateLimits"`
	OnLimit    OnLimitOverrides `json:"onLimit,omitzero"`
	// MaxDelayed is how many messages of each action are delayed at a time, 1 to 10,000. nil keeps the tier's default.
	MaxDelayed *int64 `json:"maxDelayed,omitempty"`
	// Mode says whether the limits are enforced. nil keeps the tier's.
	Mode *Mode `json:"mode,omitempty"`
	// Weight is the tenant's share of handler time, 1 to 100, see [Tenant]. nil keeps the tier's.
	Weight *int64 `json:"weight,omitempty"`
	// Boosts raise limits for a time, on top of what RateLimits and the tier say. nil, as most have it: there are none.
	Boosts *BoostOverrides `json:"boosts,omitzero"`
	// Entitlements are what was bought for the community on Discord, by the ID of the entitlement. They are recorded also
	// while the tier is set by hand. At most 20. nil says nothing: a write of a store keeps those that are stored.
	Entitlements map[string]Entitlement `json:"entitlements,omitempty"`
	// Texts replace texts that users of Discord see.
	Texts Texts `json:"texts,omitempty"`
	// The store sets CreatedAt and UpdatedAt.
	CreatedAt time.Time `json:"createdAt,omitzero"`
	UpdatedAt time.Time `json:"updatedAt,omitzero"`
	// Unknown is a JSON object with the members that arrakis does not know. Other writers have added them, and every
	// write of a store keeps them.
	Unknown jsontext.Value `json:",embed"`
}

// FeatureOverrides switch features on or off. nil keeps the tier's default.
type FeatureOverrides struct {
	CustomBranding    *bool          `json:"customBranding,omitempty"`
	AdvancedAnalytics *bool          `json:"advancedAnalytics,omitempty"`
	PrioritySupport   *bool          `json:"prioritySupport,omitempty"`
	UnlimitedCommands *bool          `json:"unlimitedCommands,omitempty"`
	Unknown           jsontext.Value `json:",embed"`
}

// fields returns the overrides, in the order of the features.
func (o *FeatureOverrides) fields() [numFeatures]*bool {
	return [...]*bool{o.CustomBranding, o.AdvancedAnalytics, o.PrioritySupport, o.UnlimitedCommands}
}

// LimitOverrides set limits. A limit is a number of admissions in a window: -1 is unlimited, 0 is none, nil keeps the
// tier's default.
type LimitOverrides struct {
	CommandsPerMinute        *int64         `json:"commandsPerMinute,omitempty"`
	EligibilityChecksPerHour *int64         `json:"eligibilityChecksPerHour,omitempty"`
	SyncRequestsPerDay       *int64         `json:"syncRequestsPerDay,omitempty"`
	UserCommandsPerMinute    *int64         `json:"userCommandsPerMinute,omitempty"`
	Unknown                  jsontext.Value `json:",embed"`
}

// ParseConfig reads a config that a user gives. It is strict: unknown and duplicate members, wrong types, unknown tiers
// and numbers out of range are refused. The error joins a [*FieldError] for each fault. A null member counts as left
// out.
func ParseConfig(data []byte) (Config, error) { return parse[Config](data, true) }

// Merge applies data to the config as a JSON merge patch (RFC 7396). A member of data replaces the same member of the
// config, and null removes an override. All other members of the config stay, but a tier without a tierFrom is set by
// hand, and removes the tierFrom. Merge is as strict as [ParseConfig]. On an error the config is unchanged.
func (c *Config) Merge(data []byte) error {
	next := *c
	if err := read(data, &next, true); err != nil {
		return err
	}
	var given struct {
		Tier     jsontext.Value `json:"tier"`
		TierFrom jsontext.Value `json:"tierFrom"`
	}
	if err := json.Unmarshal(data, &given); err != nil {
		return err
	}
	if given.Tier != nil && given.TierFrom == nil {
		next.TierFrom = "" // set by hand
	}
	*c = next
	return nil
}

// Validate reports the faults for which a store refuses the config. The error is as for [ParseConfig].
func (c *Config) Validate() error { return validate(c) }

// limitNames are the JSON names of the limits, indexed by action.
var limitNames = [NumActions]string{
	Command:          "commandsPerMinute",
	EligibilityCheck: "eligibilityChecksPerHour",
	SyncRequest:      "syncRequestsPerDay",
	UserCommand:      "userCommandsPerMinute",
}

// fields returns the limits, indexed by action.
func (o *LimitOverrides) fields() [NumActions]**int64 {
	return [NumActions]**int64{
		Command:          &o.CommandsPerMinute,
		EligibilityCheck: &o.EligibilityChecksPerHour,
		SyncRequest:      &o.SyncRequestsPerDay,
		UserCommand:      &o.UserCommandsPerMinute,
	}
}

// Any reports whether a limit is set.
func (o *LimitOverrides) Any() bool {
	for _, p := range o.fields() {
		if *p != nil {
			return true
		}
	}
	return false
}

func (o *LimitOverrides) validate(f *faults, field string) {
	for action, p := range o.fields() {
		if limit := *p; limit != nil && (*limit < -1 || *limit > maxLimit) {
			f.add(join(field, limitNames[action]), "must be from 0 to %d, or -1 for unlimited", maxLimit)
		}
	}
}

func (c *Config) validate(f *faults) {
	if c.CommunityID != "" && !ValidID(c.CommunityID) {
		f.add("communityId", idRule)
	}
	if c.GuildID != "" && !ValidID(c.GuildID) {
		f.add("guildId", idRule)
	}
	if c.Account != "" && !ValidID(c.Account) {
		f.add("account", idRule)
	}
	validateTier(f, "tier", c.Tier)
	validateTierFrom(f, "tierFrom", c.TierFrom)
	c.RateLimits.validate(f, "rateLimits")
	c.OnLimit.validate(f, "onLimit")
	validateMaxDelayed(f, "maxDelayed", c.MaxDelayed)
	validateMode(f, "mode", c.Mode)
	validateWeight(f, "weight", c.Weight)
	c.Boosts.validate(f, "boosts")
	validateEntitlements(f, "entitlements", c.Entitlements)
	c.Texts.validate(f, "texts")
}
