package rabbitmq

import (
	"cmp"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"arrakis/pipeline/contract"
)

// Destination says what the messages of a queue are.
type Destination string

// The destinations. A queue of eligibility may hold checks and syncs: a message whose event_type begins with
// eligibility.sync, or whose check_type is community_sync, is a sync.
const (
	Commands    Destination = "commands"
	Events      Destination = "events"
	Eligibility Destination = "eligibility"
)

// Destinations returns all destinations.
func Destinations() []Destination { return []Destination{Commands, Events, Eligibility} }

// kinds are the kinds of messages of a destination. The first is that of a message of which nothing is known.
func (d Destination) kinds() []contract.Kind {
	switch d {
	case Commands:
		return []contract.Kind{contract.KindCommand}
	case Events:
		return []contract.Kind{contract.KindEvent}
	case Eligibility:
		return []contract.Kind{contract.KindEligibility, contract.KindSync}
	}
	return nil
}

// stream is the stream of a destination.
func (d Destination) stream() string { return d.kinds()[0].Route().Stream }

// Server says how to reach RabbitMQ.
type Server struct {
	// URL is amqp://user:password@host:5672/vhost, or amqps:// for TLS. Required. Its parameters are those of RabbitMQ's
	// clients (https://www.rabbitmq.com/docs/uri-query-parameters).
	URL string
	// TLS is for amqps://. nil: the parameters cacertfile, certfile and keyfile of the URL, or the system's CA certificates.
	TLS *tls.Config
}

// Options are those of [Drain] and [Look]. The zero value of a field that is not required is its default.
type Options struct {
	Server Server
	NATS   *nats.Conn // required; Look does not use it
	Queue  string     // name of the queue; required
	To     Destination
	// Prefetch is how many messages are held at most, 1 to 1,000. Defaults to 500.
	Prefetch int
	// Idle is for how long the queue must have been empty until Drain returns, at least 100 ms. Defaults to 1 minute, which
	// is longer than a broker needs for a restart.
	Idle time.Duration
	// Follow says that Drain does not return when the queue is empty.
	Follow bool
	// Limit is how many messages are taken at most. 0: all. [Look] takes at most 1,000, and 100 for 0.
	Limit  int
	Logger *slog.Logger // defaults to none
	// Progress is called every 2 seconds, by the goroutine of Drain.
	Progress func(Counts)
}

const (
	maxPrefetch = 1_000
	maxLook     = 1_000
	maxShort    = 255 // bytes of a name or a property in AMQP
	leastIdle   = 100 * time.Millisecond
	// progressEvery is how often Progress is called.
	progressEvery = 2 * time.Second
)

func (o Options) withDefaults() Options {
	o.Prefetch = cmp.Or(o.Prefetch, 500)
	o.Idle = cmp.Or(o.Idle, time.Minute)
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return o
}

// validate reports all faults. It is for options with defaults.
func (o *Options) validate() error {
	errs := []error{o.Server.validate()}
	if o.Queue == "" || len(o.Queue) > maxShort {
		errs = append(errs, fmt.Errorf("field Queue has %d bytes: expected a name of 1 to %d", len(o.Queue), maxShort))
	}
	errs = append(errs, o.To.validate())
	return errors.Join(append(errs, validatePace("Prefetch", o.Prefetch, o.Idle, o.Limit))...)
}

// validatePace checks the fields that Drain and Reverse have in common. held is how many messages are held at most, in the
// field name.
func validatePace(name string, held int, idle time.Duration, limit int) error {
	var errs []error
	if held < 1 || held > maxPrefetch {
		errs = append(errs, fmt.Errorf("field %s is %d: expected 1 to %d", name, held, maxPrefetch))
	}
	if idle < leastIdle {
		errs = append(errs, fmt.Errorf("field Idle is %v: expected at least %v", idle, leastIdle))
	}
	if limit < 0 {
		errs = append(errs, fmt.Errorf("field Limit is %d: expected 0 for all, or more", limit))
	}
	return errors.Join(errs...)
}

func (d Destination) validate() error {
	if all := Destinations(); !slices.Contains(all, d) {
		names := make([]string, len(all))
		for i, name := range all {
			names[i] = string(name)
		}
		return fmt.Errorf("field To is %q: expected one of %s", string(d), strings.Join(names, ", "))
	}
	return nil
}

// Counts are what both sides have counted. Of the messages that were acknowledged, each is stored, a duplicate or a dead
// letter.
type Counts struct {
	Delivered   uint64 `json:"delivered"`    // by RabbitMQ, again or for the first time
	Redelivered uint64 `json:"redelivered"`  // of these, those that RabbitMQ had delivered before, to anybody
	Acked       uint64 `json:"acknowledged"` // to RabbitMQ
	// Left is how many messages wait in the queue; -1 if that is not known. Those that another consumer holds are not among
	// them.
	Left int `json:"left"`
	// Others is how many other consumers the queue has.
	Others       int    `json:"other_consumers"`
	Reconnects   uint64 `json:"reconnects"`    // to RabbitMQ
	Stored       uint64 `json:"stored"`        // by JetStream
	Duplicates   uint64 `json:"duplicates"`    // that JetStream had stored before
	DeadLettered uint64 `json:"dead_lettered"` // for they cannot be mapped
}

// Match reports whether both sides agree: each message that RabbitMQ was told to forget is kept on the other side.
func (c *Counts) Match() bool { return c.Acked == c.Stored+c.Duplicates+c.DeadLettered }
