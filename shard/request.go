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
	// EventID keys the permit, so that a message is charged once.
	EventID string
	// Action is what is limited. It counts only if Limited.
	Action  tenant.Action
	Limited bool
	// Replay marks a message that was delivered before and may hold its
	// permit already: Redis is asked, even if the limit is known to be full.
	Replay bool

	// Tenant is never nil in what the shard hands on.
	Tenant *tenant.Tenant
	// Verdict is Allowed for every message that is not Limited.
	Verdict limiter.Verdict
	// LimitedBy is the action whose limit decided: Action, or
	// tenant.UserCommand if the user's own limit refused the message.
	LimitedBy tenant.Action

	entry *entry
	ask   limiter.Request // for Action
	user  limiter.Request // for tenant.UserCommand
}

// Message is what a shard limits: anything that carries a Request.
type Message interface {
	// Request returns the message's one request, always the same pointer.
	Request() *Request
}
