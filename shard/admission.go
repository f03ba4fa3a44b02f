package shard

import (
	"strings"

	"arrakis/limiter"
	"arrakis/tenant"
)

// Admission is the question whether a message is admitted, and the shard's answer. The sender sets the first group of
// fields before it puts the message into the mailbox; the shard sets the second group.
type Admission struct {
	// TenantKey is the ID that the message carries. It picks the shard, and is the key of the tenant's config. Several
	// tenant keys can belong to one tenant.
	TenantKey string
	// User is the ID of the user in the community, "" if there is none.
	User string
	// ID is the event ID. An ID is charged once. It must not be empty if Limited is true.
	ID string
	// Run tells this message from earlier ones with the same ID: if ID holds a permit already, the message needs one of
	// its own. "" is a message that may use the permit.
	Run string
	// Reservation names the permit that was reserved for the message, which may be free now, or was used by an earlier
	// delivery; "" is none. Reserve sets it too.
	Reservation string
	// MayBeReserved names the permit that may have been reserved for a message that was delivered before; "" is none.
	MayBeReserved string
	// Action is the action under which the message is limited. It has an effect only if Limited is true.
	Action  tenant.Action
	Limited bool
	// Repeated says that the message was delivered before and may hold its permit already.
	Repeated bool
	// Admitted says that the message was admitted before, under Verdict, which the sender has set. It is neither asked for
	// nor charged again.
	Admitted bool
	// Shadowed says that a limit refused the message, which passed because its tenant was in shadow mode. The sender sets
	// it, with LimitedBy, for such a message that was admitted before; LetPass sets it else.
	Shadowed bool

	// LimitedBy is the action whose limit decided. It is Action, or tenant.UserCommand if the user's own limit refused
	// the message.
	LimitedBy tenant.Action
	// Tenant is never nil after the shard's decision.
	Tenant *tenant.Tenant
	// Verdict is Allowed if Limited is false, and if Admitted is true.
	Verdict limiter.Verdict

	entry   *entry
	request limiter.Request  // for Action
	user    *limiter.Request // for tenant.UserCommand; nil if that limit is not checked
}

// permitID is the ID under which the message is charged. Event IDs are unique for a tenant key. The permits of a tenant
// with several keys are told apart, and those of an account whose communities are counted together, so that nobody sends
// one event ID under each of them for one permit. A tenant key has no slash, so an ID with a slash gets a key in any case:
// else guild/e of the tenant would be e of the guild. A reservation is the message's own, so that messages published under
// one event ID do not share one and all wait.
func (a *Admission) permitID() string { return a.permitOf(a.Reservation) }

// permitOf is the ID of the message's own permit, or of the one reserved for it under the name.
func (a *Admission) permitOf(reservation string) string {
	id := a.ID
	if a.TenantKey != a.Tenant.LimitID(a.Action) || strings.Contains(a.ID, "/") {
		id = a.TenantKey + " " + a.ID // no event ID has a space
	}
	if reservation != "" {
		return limiter.ReservedID(id + " " + reservation)
	}
	return id
}

// MayHold reports whether the message may hold its permit already.
func (a *Admission) MayHold() bool { return a.Repeated || a.Reservation != "" }

// asks reports whether a limit decides on the message.
func (a *Admission) asks() bool { return a.Limited && !a.Admitted }

// limitsUser reports whether the user's own limit is asked too.
func (a *Admission) limitsUser() bool {
	return a.Action == tenant.Command && a.User != "" && a.Tenant.Max[tenant.UserCommand] >= 0
}

// refusedByUser reports whether the user's own limit refused the message.
func (a *Admission) refusedByUser() bool { return a.user != nil && !a.user.Verdict.Allowed }

// Message is a message that a shard can admit. It carries an Admission.
type Message interface {
	// Admission returns the message's admission, always the same pointer.
	Admission() *Admission
}
