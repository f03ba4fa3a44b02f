package shard

import (
	"arrakis/limiter"
	"arrakis/tenant"
)

// Request is what a shard has to know of a message, and what it answers. The
// sender fills in the first group and hands the request over with its message;
// the shard fills in the second.
type Request struct {
	// Community is the ID that the message carries: it picks the shard and
	// the tenant.
	Community string
	// User is the ID of the user inside the community, "" if there is none.
	User string
	// Action is what is limited. It counts only if Limited.
	Action  tenant.Action
	Limited bool
	// LimitedBy is the action whose limit decided: Action, or
	// tenant.UserCommand if the user's own limit refused the message. The
	// shard sets it.
	LimitedBy tenant.Action
	// Request is what the limiter is asked. The sender sets ID, the event ID,
	// by which a message is charged once, and Replay for a message that was
	// delivered before and may hold its permit already. The shard sets the
	// rest; Verdict is Allowed for every message that is not Limited.
	limiter.Request
	// Tenant is set by the shard, never nil in what it hands on.
	Tenant *tenant.Tenant

	entry *entry
	user  *limiter.Request // for tenant.UserCommand, nil if that limit is not asked
}

// Message is what a shard limits: anything that carries a Request.
type Message interface {
	// Request returns the message's one request, always the same pointer.
	Request() *Request
}
