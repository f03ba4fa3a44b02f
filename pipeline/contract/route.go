package contract

import (
	"slices"
	"time"

	"arrakis/tenant"
)

// Kind is the kind of a message. It follows from the subject that the message is published to.
type Kind uint8

// The kinds. Each has a [Route].
const (
	KindCommand Kind = iota
	KindEvent
	KindEligibility
	KindSync
	// KindAnswer is an answer to an interaction, which arrakis itself stores, to be sent to Discord.
	KindAnswer
	NumKinds = 5
)

// Route describes one kind of message: its HTTP path, its stream and consumer, its subjects and its limit. A new kind
// is a new constant above and a new row of the table below. Other packages make their lists of consumers, HTTP paths
// and subjects from this table. A new stream also needs its bounds in package streams.
type Route struct {
	Kind     Kind
	Name     string        // the kind's token in handlers.<name>.<…>, in logs and in errors
	Stream   string        // keeps the messages until they are acknowledged
	Consumer string        // durable, shared by all processes
	Subject  string        // prefix of the messages' subjects; see Filter and SubjectFor
	AckWait  time.Duration // JetStream delivers a message again if it is not acknowledged within this time
	Action   tenant.Action // the action under which messages are limited, if Limited
	Limited  bool
	HTTPPath string // path on the ingress; "" for messages that only arrakis itself publishes
	// EventType is the event type of an HTTP request that leaves out event_type. If it is "", requests must have an
	// event_type.
	EventType string
	// Waits says that an HTTP request waits for the outcome, unless the client prefers not to wait.
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
	KindAnswer: {
		Kind: KindAnswer, Name: "answer",
		Stream: StreamAnswers, Consumer: ConsumerAnswer, Subject: "answers", AckWait: 30 * time.Second,
	},
}

// Routes returns the routes of all kinds, indexed by [Kind].
func Routes() [NumKinds]Route { return routes }

// Streams returns the streams of all routes, each once, in the order of the kinds.
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

// maxSubject is how many bytes a subject of a route may have.
const maxSubject = 1024

// RouteOf finds the route of messages that are published to subject. ok is false if no route has the subject, or if it
// cannot be published to.
func RouteOf(subject string) (r *Route, ok bool) {
	if len(subject) > maxSubject || !ValidSubject(subject) {
		return nil, false
	}
	for k := range routes {
		if r := &routes[k]; len(subject) > len(r.Subject) && subject[len(r.Subject)] == '.' && subject[:len(r.Subject)] == r.Subject {
			return r, true
		}
	}
	return nil, false
}

// Filter is the subject filter of the route's consumer. It matches every subject below Subject.
func (r *Route) Filter() string { return r.Subject + ".>" }

// SubjectFor is the subject to publish a message with a valid envelope to. It has three parts: the route's Subject, the
// purpose of the message, and the tenant key. The purpose is the check type, the event type, or "interaction" for every
// command, whose name is in the body. The tenant key lets operators watch one community, and streams be partitioned.
func (r *Route) SubjectFor(e *Envelope) string {
	purpose := "interaction"
	if r.Kind != KindCommand {
		purpose = e.Name(r.Kind)
	}
	return r.Subject + "." + purpose + "." + e.TenantKey
}

// HandlerSubject is the subject of the NATS micro service for name, which is a command, a check type or an event type.
func HandlerSubject(k Kind, name string) string { return "handlers." + k.String() + "." + name }
