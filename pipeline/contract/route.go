package contract

import (
	"slices"
	"time"

	"arrakis/tenant"
)

// Kind is what a message asks for. It follows from the subject that the message is published to.
type Kind uint8

// The kinds. Each is a [Route].
const (
	KindCommand Kind = iota
	KindEvent
	KindEligibility
	KindSync
	NumKinds = 4
)

// Route is all that distinguishes one kind of message from the others: where it enters, where it waits, what it is
// limited as. A new kind is a new line of the table below; the lists of streams, consumers, HTTP paths and subjects
// that other packages need are made from it.
type Route struct {
	Kind     Kind
	Name     string        // the kind's token in handlers.<name>.<…>, in logs and in errors
	Stream   string        // that keeps the messages until they are acknowledged
	Consumer string        // durable, shared by all processes
	Subject  string        // prefix of the messages' subjects; see Filter and SubjectFor
	AckWait  time.Duration // after which JetStream delivers a message again that nobody acknowledged
	Action   tenant.Action // what messages are limited as, if Limited
	Limited  bool
	HTTPPath string // of the ingress
	// EventType is given to a request over HTTP that leaves out event_type; "" demands one.
	EventType string
	// Waits says that a request over HTTP waits for the outcome, unless it prefers not to.
	Waits bool
}

// routes is indexed by kind.
var routes = [NumKinds]Route{
	KindCommand: {
		Kind: KindCommand, Name: "command",
		Stream: StreamCommands, Consumer: ConsumerCommand, Subject: "commands", AckWait: 30 * time.Second,
		Action: tenant.Command, Limited: true,
		HTTPPath: "/v1/commands", EventType: "interaction.create", Waits: true,
	},
	KindEvent: {
		Kind: KindEvent, Name: "event",
		Stream: StreamEvents, Consumer: ConsumerEvent, Subject: "events", AckWait: 15 * time.Second,
		HTTPPath: "/v1/events",
	},
	KindEligibility: {
		Kind: KindEligibility, Name: "eligibility",
		Stream: StreamEligibility, Consumer: ConsumerEligibility, Subject: "eligibility.check", AckWait: time.Minute,
		Action: tenant.EligibilityCheck, Limited: true,
		HTTPPath: "/v1/eligibility/checks", EventType: "eligibility.check", Waits: true,
	},
	KindSync: {
		Kind: KindSync, Name: "sync",
		Stream: StreamEligibility, Consumer: ConsumerSync, Subject: "eligibility.sync", AckWait: 5 * time.Minute,
		Action: tenant.SyncRequest, Limited: true,
		HTTPPath: "/v1/eligibility/syncs", EventType: "eligibility.sync",
	},
}

// Routes returns the routes of all kinds, indexed by [Kind].
func Routes() [NumKinds]Route { return routes }

// Streams returns the streams that the routes pull from, each once, in the order of the kinds.
func Streams() []string {
	var streams []string
	for _, r := range routes {
		if !slices.Contains(streams, r.Stream) {
			streams = append(streams, r.Stream)
		}
	}
	return streams
}

// Route returns the kind's route, which is read-only.
func (k Kind) Route() *Route { return &routes[k] }

// String returns the route's Name.
func (k Kind) String() string { return routes[k].Name }

// Filter is the subject filter of the route's consumer: all that is published below Subject.
func (r *Route) Filter() string { return r.Subject + ".>" }

// SubjectFor is where the message of a valid envelope is published: the route's Subject, then what the message is for
// (commands have their name in the body, and "interaction" here), then the tenant's key, by which operators can watch
// one community and streams can be partitioned.
func (r *Route) SubjectFor(e *Envelope) string {
	purpose := "interaction"
	if r.Kind != KindCommand {
		purpose = e.Name(r.Kind)
	}
	return r.Subject + "." + purpose + "." + e.TenantKey
}

// HandlerSubject is where a NATS micro service answers for name: a command, a check type or an event type.
func HandlerSubject(k Kind, name string) string { return "handlers." + k.String() + "." + name }
