package discord

import (
	"cmp"
	"context"
	"net/http"
	"time"

	"arrakis/pipeline/discord"
	"arrakis/pipeline/http/problem"
)

// events serves the path of that name.
func (h *Handler) events(w http.ResponseWriter, r *http.Request) {
	c := h.begin(w, r, kindEvent)
	defer c.done(r.Context())
	body, ok := c.signed()
	if !ok {
		return
	}
	e, err := discord.ParseEvent(body)
	switch {
	case err != nil:
		c.refuse(endMalformed, malformed(err))
	case e.Type == "":
		c.accept(endPong)
	case e.Entitlement == nil || h.o.Entitlements == nil:
		c.accept(endIgnored)
	default:
		c.take(r.Context(), e)
	}
}

// take passes an entitlement on to Entitlements.
func (c *call) take(ctx context.Context, e *discord.Event) {
	ctx, cancel := context.WithTimeout(ctx, c.h.times.event)
	defer cancel()
	err := c.h.o.Entitlements(ctx, *e.Entitlement, cmp.Or(e.At, c.arrived))
	if err == nil {
		c.accept(endTaken)
		return
	}
	c.h.trouble.Do(func() {
		c.h.log.WarnContext(ctx, "an entitlement is not stored; Discord sends its event again for up to 10 minutes",
			"type", e.Type, "entitlement_id", e.Entitlement.ID, "request_id", c.requestID, "err", err)
	})
	c.refuse(endFailed, problem.New(http.StatusServiceUnavailable, "not-stored",
		"The entitlement could not be stored now. Send the event again.").RetryAfter(2*time.Second))
}
