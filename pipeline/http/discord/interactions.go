package discord

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"

	"arrakis/pipeline/contract"
	"arrakis/pipeline/discord"
	"arrakis/pipeline/http/ingress"
)

// interactions serves the path of that name.
func (h *Handler) interactions(w http.ResponseWriter, r *http.Request) {
	c := h.begin(w, r, kindUnknown)
	defer c.done(r.Context())
	body, ok := c.signed()
	if !ok {
		return
	}
	i, err := discord.Parse(body)
	if err != nil {
		c.refuse(endMalformed, malformed(err))
		return
	}
	c.kind = kind(i.Type.String())
	if i.Type == discord.Ping {
		pong := discord.Pong()
		c.respond(endPong, pong.Inline())
		return
	}
	c.community, c.eventID = i.Community(), i.ID
	envelope, err := i.Envelope()
	if err != nil {
		c.refuse(endMalformed, malformed(err))
		return
	}
	if i.Type == discord.Autocomplete {
		c.complete(r.Context(), i, envelope)
		return
	}
	c.submit(r.Context(), i, envelope)
}

// submit stores the interaction and answers it with what a worker says of it in time, or that the answer follows.
func (c *call) submit(ctx context.Context, i *discord.Interaction, envelope []byte) {
	header := nats.Header{contract.HeaderRequestID: {c.requestID}, contract.HeaderAnswer: {contract.AnswerDiscord}}
	if since := c.entitled(ctx, i); !since.IsZero() {
		header[contract.HeaderTenantSince] = []string{strconv.FormatInt(since.UnixMilli(), 10)}
	}
	e, err := contract.Decode(contract.KindCommand, envelope)
	if err != nil { // discord.Parse accepts nothing of which the contract refuses the envelope
		c.refuse(endMalformed, malformed(err))
		return
	}
	reply, err := c.h.o.Ingress.Submit(ctx, &ingress.Submission{
		Kind: contract.KindCommand, Envelope: e, Body: envelope, Header: header, MessageID: i.ID,
		Wait: max(c.h.times.answer-time.Since(c.arrived), c.h.times.least), SenderWait: contract.AnswerWait,
	})
	words := discord.Words{Type: i.Type, Locale: i.Locale}
	switch {
	case err == nil:
		reply.Written(c.respond(endInline, c.response(&words, reply.Data)))
	case errors.Is(err, ingress.ErrNoReply):
		c.respondLater(endDeferred, i)
	case errors.Is(err, ingress.ErrRepeated): // a load balancer does that, if the process died that it had sent the first to
		c.respondLater(endRepeated, i)
	case ctx.Err() != nil: // nobody is there to be answered
	default:
		refusal := words.Say(refused(err, time.Now()))
		c.respond(endRefused, refusal.Inline())
	}
}

// respondLater answers that the answer follows.
func (c *call) respondLater(e end, i *discord.Interaction) {
	later := discord.Deferral(i.Type, c.h.ephemeral[i.Command])
	c.respond(e, later.Inline())
}

// refused is what a user is told of an interaction that was not stored.
func refused(err error, now time.Time) (discord.Key, discord.Values) {
	switch {
	case errors.Is(err, ingress.ErrBusy):
		return discord.KeyBusy, discord.Values{Retry: now.Add(2 * time.Second)}
	case errors.Is(err, ingress.ErrFull): // until workers have caught up
		return discord.KeyBusy, discord.Values{Retry: now.Add(10 * time.Second)}
	default: // this process is not running, or JetStream is away
		return discord.KeyUnavailable, discord.Values{}
	}
}

// response is the response in a worker's reply. A worker that does not answer Discord, because it is of an earlier version
// or is not told to, replies with the outcome.
func (c *call) response(words *discord.Words, reply []byte) []byte {
	var r struct {
		Type discord.ResponseType `json:"type"`
		contract.Outcome
	}
	err := json.Unmarshal(reply, &r)
	switch {
	case err == nil && r.Type != 0:
		return reply
	case err == nil && r.Status != "":
		response, _ := words.Outcome(&r.Outcome, c.requestID, time.Now())
		return response.Inline()
	default:
		response := words.Say(discord.KeyError, discord.Values{RequestID: c.requestID})
		return response.Inline()
	}
}

// entitled passes the interaction on to Entitled, and returns since when the config is in force that it is handled under.
func (c *call) entitled(ctx context.Context, i *discord.Interaction) time.Time {
	if c.h.o.Entitled == nil {
		return time.Time{}
	}
	if i.EntitlementsUnclear {
		c.h.trouble.Do(func() {
			c.h.log.WarnContext(ctx, "entitlements of an interaction are missing, or of a form that is not known: such do not count, and none ends by it",
				"community_id", c.community, "event_id", c.eventID, "request_id", c.requestID)
		})
	}
	ctx, cancel := context.WithTimeout(ctx, c.h.times.entitled)
	defer cancel()
	since, err := c.h.o.Entitled(ctx, i)
	if err != nil {
		c.h.trouble.Do(func() {
			c.h.log.WarnContext(ctx, "the entitlements of an interaction are not taken into account; the next one brings them again",
				"community_id", c.community, "request_id", c.requestID, "err", err)
		})
		return time.Time{}
	}
	return since
}
