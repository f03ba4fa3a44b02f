package tenant

import (
	"time"

	"github.com/go-json-experiment/json/jsontext"
)

// Boost raises a limit for a time. The zero value raises nothing.
type Boost struct {
	Add   int64     // admissions in a window, on top of the limit that is in force otherwise; 0 is no boost
	Until time.Time // by the clock of Redis, in UTC; from then on the boost has no effect
}

// BoostOverrides raise limits for a time, each until its own. The zero value of a limit is no boost. A boost that has
// ended has no effect and stays until the next write, which drops it.
type BoostOverrides struct {
	CommandsPerMinute        BoostOverride  `json:"commandsPerMinute,omitzero"`
	EligibilityChecksPerHour BoostOverride  `json:"eligibilityChecksPerHour,omitzero"`
	SyncRequestsPerDay       BoostOverride  `json:"syncRequestsPerDay,omitzero"`
	UserCommandsPerMinute    BoostOverride  `json:"userCommandsPerMinute,omitzero"`
	Unknown                  jsontext.Value `json:",embed"`
}

// BoostOverride is a [Boost] in a document: Add is 1 or more, and Until is set.
type BoostOverride struct {
	Add     int64          `json:"add"`
	Until   time.Time      `json:"until"`
	Unknown jsontext.Value `json:",embed"`
}

// IsZero reports whether o says nothing: then it is left out of a document. What another writer has added to a boost goes
// with the boost.
func (o *BoostOverrides) IsZero() bool {
	if o == nil {
		return true
	}
	for _, b := range o.Fields() {
		if b.Add != 0 || !b.Until.IsZero() {
			return false
		}
	}
	return o.Unknown == nil
}

// clone returns a copy of o, an empty one for nil.
func (o *BoostOverrides) clone() *BoostOverrides {
	if o == nil {
		return new(BoostOverrides)
	}
	c := *o
	return &c
}

// Fields returns the boosts, indexed by action. o must not be nil.
func (o *BoostOverrides) Fields() [NumActions]*BoostOverride {
	return [NumActions]*BoostOverride{
		Command:          &o.CommandsPerMinute,
		EligibilityCheck: &o.EligibilityChecksPerHour,
		SyncRequest:      &o.SyncRequestsPerDay,
		UserCommand:      &o.UserCommandsPerMinute,
	}
}

// Any reports whether there is a boost, also if it has ended.
func (o *BoostOverrides) Any() bool { return o.boosts() != nil }

// DropEndedBoosts removes the boosts that have ended at now.
func (c *Config) DropEndedBoosts(now time.Time) {
	boosts := c.Boosts.clone() // another config may have the same
	for _, b := range boosts.Fields() {
		if !b.Until.After(now) {
			*b = BoostOverride{}
		}
	}
	c.setBoosts(boosts)
}

// EndBoosts removes all boosts.
func (c *Config) EndBoosts() {
	c.setBoosts(&BoostOverrides{Unknown: c.Boosts.clone().Unknown})
}

func (c *Config) setBoosts(o *BoostOverrides) {
	if c.Boosts = o; o.IsZero() {
		c.Boosts = nil
	}
}

// Boost returns the boost of an action, also one that has ended. An unlimited action has none.
func (t *Tenant) Boost(a Action) Boost {
	if t.Boosts == nil || t.Max[a] < 0 {
		return Boost{}
	}
	return t.Boosts[a]
}

// boosts are the boosts of a tenant, nil if there are none.
func (o *BoostOverrides) boosts() *[NumActions]Boost {
	if o == nil {
		return nil
	}
	var boosts [NumActions]Boost
	for action, b := range o.Fields() {
		if b.Add > 0 {
			boosts[action] = Boost{Add: b.Add, Until: b.Until.UTC()}
		}
	}
	if boosts == [NumActions]Boost{} {
		return nil
	}
	set := boosts // so that a tenant without boosts allocates none
	return &set
}

func (o *BoostOverrides) validate(f *faults, field string) {
	if o == nil {
		return
	}
	for action, b := range o.Fields() {
		if b.Add != 0 || !b.Until.IsZero() { // otherwise there is none
			b.validate(f, join(field, limitNames[action]))
		}
	}
}

func (b *BoostOverride) validate(f *faults, field string) {
	if b.Add < 1 || b.Add > maxLimit {
		f.add(join(field, "add"), "must be from 1 to %d", maxLimit)
	}
	if b.Until.IsZero() || !writable(b.Until) {
		f.add(join(field, "until"), timeRule)
	}
}
