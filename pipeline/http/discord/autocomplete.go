package discord

import (
	"context"
	"strconv"
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
	"github.com/nats-io/nats.go"
	"golang.org/x/time/rate"

	"arrakis/pipeline/contract"
	"arrakis/pipeline/discord"
)

// MaxCompletions is how many autocompletes are in flight at most. One more gets no choices.
const MaxCompletions = 256

const (
	// completionRate and completionBurst are how many autocompletes of one community are asked a second, and at once. Discord
	// sends one when somebody pauses while typing, so this is a crowd.
	completionRate, completionBurst = 20, 40
	// maxPaces is of how many communities that is known. Of more, those that were not seen for the longest are forgotten.
	maxPaces = 10_000
)

// completions asks the handlers of autocomplete, within its bounds. It is safe for concurrent use.
type completions struct {
	nats     *nats.Conn
	inFlight chan struct{} // has as many values as there are requests in flight

	mu    sync.Mutex                            // protects the field below
	paces *simplelru.LRU[string, *rate.Limiter] // by community
}

func newCompletions(nc *nats.Conn) *completions {
	paces, _ := simplelru.NewLRU[string, *rate.Limiter](maxPaces, nil) // an error only for a size below 1
	return &completions{nats: nc, inFlight: make(chan struct{}, MaxCompletions), paces: paces}
}

// begin reports whether another autocomplete of the community may be asked at now. If so, the caller must call end.
func (c *completions) begin(community string, now time.Time) bool {
	if !c.pace(community).AllowN(now, 1) {
		return false
	}
	select {
	case c.inFlight <- struct{}{}:
		return true
	default:
		return false
	}
}

func (c *completions) end() { <-c.inFlight }

// pace is the community's limiter.
func (c *completions) pace(community string) *rate.Limiter {
	c.mu.Lock()
	defer c.mu.Unlock()
	l, ok := c.paces.Get(community)
	if !ok {
		l = rate.NewLimiter(completionRate, completionBurst)
		c.paces.Add(community, l)
	}
	return l
}

// complete answers an autocomplete with the choices of its handler.
func (c *call) complete(ctx context.Context, i *discord.Interaction, envelope []byte) {
	all := c.h.completions
	if !all.begin(i.Community(), c.arrived) {
		c.respond(endTooMany, choices(nil))
		return
	}
	defer all.end()
	deadline := c.arrived.Add(c.h.times.choices)
	ctx, cancel := context.WithDeadline(ctx, deadline)
	defer cancel()
	reply, err := all.nats.RequestMsgWithContext(ctx, &nats.Msg{
		Subject: "handlers.autocomplete." + i.Command,
		Data:    envelope,
		Header: nats.Header{
			contract.HeaderCommunity: {i.Community()},
			contract.HeaderRequestID: {c.requestID},
			contract.HeaderEventID:   {i.ID},
			contract.HeaderAttempt:   {"1"},
			contract.HeaderDeadline:  {strconv.FormatInt(deadline.UnixMilli(), 10)},
		},
	})
	var found []choice
	if err == nil {
		found, err = choicesOf(reply)
	}
	if err != nil {
		c.h.log.DebugContext(ctx, "an autocomplete has no choices", "command", i.Command, "request_id", c.requestID, "err", err)
		c.respond(endNoChoices, choices(nil))
		return
	}
	c.respond(endChoices, choices(found))
}
