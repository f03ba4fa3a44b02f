package discord

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"arrakis/pipeline/discord"
)

// kind is a value of the label type: that of an interaction, or one of these.
type kind string

const (
	kindUnknown kind = "unknown" // the body was not read
	kindEvent   kind = "event"
)

// end is a value of the label answer: how a request has ended.
type end string

const (
	endPong         end = "pong"
	endInline       end = "inline"       // with the answer of a worker
	endDeferred     end = "deferred"     // the worker sends its answer later
	endRefused      end = "refused"      // told in a message that it cannot be stored now
	endRepeated     end = "repeated"     // it was stored before: the answer follows
	endChoices      end = "choices"      // of an autocomplete
	endNoChoices    end = "no_choices"   // its handler is away, late or wrong
	endTooMany      end = "too_many"     // autocompletes, of this community or of all: no choices
	endTaken        end = "taken"        // an event that has an effect
	endIgnored      end = "ignored"      // an event that has none
	endFailed       end = "failed"       // an event that Discord will send again
	endUnauthorized end = "unauthorized" // not signed, or not well
	endStale        end = "stale"        // signed too long ago, or in the future
	endMalformed    end = "malformed"    // no body that Discord sends
	endGone         end = "gone"         // the client has left
)

type metrics struct{ interactions *prometheus.CounterVec }

// newMetrics makes the metrics and registers them, unless reg is nil.
func newMetrics(reg prometheus.Registerer) *metrics {
	m := &metrics{promauto.With(reg).NewCounterVec(prometheus.CounterOpts{
		Name: "arrakis_discord_interactions_total",
		Help: "Requests of Discord by type of interaction, or event, and by how they were answered.",
	}, []string{"type", "answer"})}
	// These exist from the start, so that the first one that is refused shows as an increase.
	for _, t := range []discord.Type{discord.Command, discord.Component, discord.Modal} {
		for _, e := range []end{endInline, endDeferred, endRefused, endRepeated, endGone} {
			m.interactions.WithLabelValues(t.String(), string(e))
		}
	}
	for _, k := range []kind{kindUnknown, kindEvent} {
		for _, e := range []end{endUnauthorized, endStale} {
			m.interactions.WithLabelValues(string(k), string(e))
		}
	}
	return m
}

func (m *metrics) answered(k kind, e end) {
	m.interactions.WithLabelValues(string(k), string(e)).Inc()
}
