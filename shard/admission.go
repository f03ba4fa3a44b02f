package shard

import (
	"arrakis/limiter"
	"arrakis/tenant"
)

// Admission is what a shard must know of a message to admit it, and what it
// answers. The sender fills in the first group and hands the admission over
// with its message; the shard fills in the second.
type Admission struct {
	// TenantKey is the ID that the message carries: it picks the shard, and is
	// the key of the tenant's config. Several keys can be one tenant.
	TenantKey string
	// User is the ID of the user inside the community, "" if there is none.
	User string
	// Action is what is limited. It counts only if Limited.
	Action  tenant.Action
	Limited bool
	// ID is the event ID, by which a message is charged once. It must not be
	// empty if Limited.
	ID string
	// Replay says that the message was delivered before, and so may hold its
	// permit already.
	Replay bool

	// Tenant is never nil in what the shard hands on.
	Tenant *tenant.Tenant
	// Verdict is Allowed for every message that is not Limited.
	Verdict limiter.Verdict
	// LimitedBy is the action whose limit decided: Action, or
	// tenant.UserCommand if the user's own limit refused the message.
	LimitedBy tenant.Action

	entry   *entry
	request limiter.Request  // for Action
	user    *limiter.Request // for tenant.UserCommand, nil if that limit is not asked
}

// refusedByUser reports whether the user's own limit was asked and refused.
func (a *Admission) refusedByUser() bool { return a.user != nil && !a.user.Verdict.Allowed }

// Message is what a shard admits: anything that carries an Admission.
type Message interface {
	// Admission returns the message's one admission, always the same pointer.
	Admission() *Admission
}
