package discord

import (
	"context"
	"net/http"
	"strconv"
	"time"

	"arrakis/pipeline/http/problem"
	"arrakis/pipeline/http/requestid"
)

// call is one request and its answer.
type call struct {
	h         *Handler
	w         http.ResponseWriter
	r         *http.Request
	arrived   time.Time // when the headers had been read
	requestID string

	// For the metrics and the log.
	kind               kind
	ended              end
	status             int
	community, eventID string // "" before the body is read
}

// begin makes a call of a request. The caller must call done.
func (h *Handler) begin(w http.ResponseWriter, r *http.Request, k kind) *call {
	c := &call{h: h, w: w, r: r, arrived: time.Now(), requestID: requestid.Of(r), kind: k, ended: endGone}
	w.Header().Set(requestid.Header, c.requestID)
	return c
}

// done counts and logs the call.
func (c *call) done(ctx context.Context) {
	c.h.metrics.answered(c.kind, c.ended)
	c.h.log.DebugContext(ctx, "discord was answered",
		"type", string(c.kind), "answer", string(c.ended), "code", c.status, "request_id", c.requestID,
		"community_id", c.community, "event_id", c.eventID, "seconds", time.Since(c.arrived).Seconds())
}

// refuse answers with a problem.
func (c *call) refuse(e end, p *problem.Problem) {
	p.RequestID, p.EventID, p.Community = c.requestID, c.eventID, c.community
	c.finish(e, p.Status, p.Write(c.w))
}

// respond answers with a response of Discord's. It reports whether that has left this process, so that the client has it,
// unless the connection broke on the way. A client that has read it may be gone at once, so only one that was gone before
// counts as such.
func (c *call) respond(e end, response []byte) bool {
	if c.r.Context().Err() != nil {
		return false
	}
	header := c.w.Header()
	header.Set("Content-Type", "application/json")
	header.Set("Content-Length", strconv.Itoa(len(response)))
	c.w.WriteHeader(http.StatusOK)
	_, err := c.w.Write(response) //nolint:gosec,nolintlint // it is JSON, and says so; gosec doubts that now and then
	if err == nil {
		err = http.NewResponseController(c.w).Flush()
	}
	return c.finish(e, http.StatusOK, err)
}

// accept answers an event that was taken.
func (c *call) accept(e end) {
	c.w.Header().Set("Content-Type", "application/json") // Discord wants one, also where there is no body
	c.w.WriteHeader(http.StatusNoContent)
	c.finish(e, http.StatusNoContent, nil)
}

// finish notes how the call has ended. err says that the client is gone.
func (c *call) finish(e end, status int, err error) bool {
	c.status = status
	if err != nil {
		return false
	}
	c.ended = e
	return true
}
