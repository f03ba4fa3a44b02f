package discord

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/time/rate"

	"arrakis/pipeline/contract"
	"arrakis/pipeline/discord"
	"arrakis/pipeline/http/ingress"
)

// The paths.
const (
	interactionsPath = "/discord/interactions"
	eventsPath       = "/discord/events"
)

// times are for how long something is waited for. Discord gives 3 s for everything, with the way there and back.
type times struct {
	answer   time.Duration // of a worker, from the end of the request's headers
	least    time.Duration // to store a message and get its answer, if its request came slowly
	choices  time.Duration // of a handler of autocomplete, from the end of the request's headers
	entitled time.Duration // Options.Entitled
	event    time.Duration // Options.Entitlements
}

var defaultTimes = times{
	answer: 2 * time.Second, least: 250 * time.Millisecond, choices: 2500 * time.Millisecond,
	entitled: 500 * time.Millisecond, event: 2500 * time.Millisecond,
}

// Options are the settings of a [Handler].
type Options struct {
	// Keys are the application's public keys. Required.
	Keys discord.Keys
	// Ingress reads bodies and stores messages. Required. Interactions are refused unless it runs.
	Ingress *ingress.Ingress
	// NATS is the connection to the handlers of autocomplete. Required.
	NATS *nats.Conn
	// Ephemeral are the commands of which only the user sees an answer that comes late. Defaults to none.
	Ephemeral []string
	// AnswerTime is how long a worker's answer is waited for, from the end of a request's headers, before Discord is told that
	// it follows. Discord gives 3 s for everything, with the way there and back. Defaults to 2 s.
	AnswerTime time.Duration
	// Entitled is told of every interaction before it is stored, but not of an autocomplete: an interaction has all
	// entitlements of its guild and its user. It returns since when the community's config is in force that the message is to be
	// handled under, for the header Arrakis-Tenant-Since; zero is no such time. It has 500 ms; an error is logged and
	// changes nothing else. Defaults to none.
	Entitled func(context.Context, *discord.Interaction) (since time.Time, err error)
	// Entitlements takes an entitlement that an event is about, as it was at a time. It has 2.5 s; after an error Discord
	// sends the event again. Events come in any order, and some of them twice. Defaults to none: events have no effect.
	Entitlements func(context.Context, discord.Entitlement, time.Time) error
	// Logger logs what Entitled and Entitlements fail at, and each request at level debug. Defaults to none.
	Logger *slog.Logger
	// Registerer receives the metrics. Defaults to none.
	Registerer prometheus.Registerer
}

// validate reports all faults at once, with the names of the fields.
func (o *Options) validate() error {
	var errs []error
	if len(o.Keys) == 0 {
		errs = append(errs, errors.New("no Keys: a public key is required"))
	}
	if o.Ingress == nil {
		errs = append(errs, errors.New("no Ingress: an ingress is required"))
	}
	if o.NATS == nil {
		errs = append(errs, errors.New("no NATS: a connection is required"))
	}
	if o.AnswerTime < 0 {
		errs = append(errs, errors.New("AnswerTime is negative: 0 is the default"))
	}
	for _, name := range o.Ephemeral {
		if !contract.ValidCommand(name) {
			errs = append(errs, fmt.Errorf("a name of Ephemeral is %q: expected [a-z0-9_-]{1,32}", contract.Clip(name, 64)))
		}
	}
	return errors.Join(errs...)
}

// Handler serves both paths.
type Handler struct {
	// Set by New, read-only.
	o         Options
	log       *slog.Logger
	ephemeral map[string]bool // by command
	metrics   *metrics
	times     times // tests have others

	completions *completions
	trouble     rate.Sometimes // warnings that what every interaction passes through fails
}

// New makes a handler. The error names every bad option.
func New(o Options) (*Handler, error) {
	if err := o.validate(); err != nil {
		return nil, fmt.Errorf("discord options: %w", err)
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	h := &Handler{
		o: o, log: o.Logger.With("component", "discord"), ephemeral: make(map[string]bool, len(o.Ephemeral)),
		metrics: newMetrics(o.Registerer), times: defaultTimes, completions: newCompletions(o.NATS),
		trouble: rate.Sometimes{Interval: 10 * time.Second},
	}
	h.times.answer = cmp.Or(o.AnswerTime, h.times.answer)
	for _, name := range o.Ephemeral {
		h.ephemeral[name] = true
	}
	return h, nil
}

// Mount serves both paths on mux.
func (h *Handler) Mount(mux *http.ServeMux) {
	mux.HandleFunc(interactionsPath, h.interactions)
	mux.HandleFunc(eventsPath, h.events)
}
