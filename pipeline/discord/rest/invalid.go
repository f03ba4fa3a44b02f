package rest

import (
	"context"
	"time"

	"github.com/nats-io/nuid"

	"arrakis/limiter"
)

// invalidLimit is how many invalid calls may be made. It is half of what Discord bans for, because other programs may
// call from the same address, and calls may be under way.
func invalidLimit() limiter.Limit { return limiter.Limit{Max: invalidMax, Window: invalidWindow} }

// countInvalid counts an invalid call.
func (g *guards) countInvalid(ctx context.Context) {
	verdicts, err := g.limits.Allow(ctx, invalidKey, invalidLimit(), nuid.Next())
	if err != nil {
		g.log.DebugContext(ctx, "an invalid call was not counted", "err", err)
		return
	}
	g.m.setInvalid(invalidMax - verdicts[0].Remaining)
}

// tooManyInvalid returns a LaterError while there are too many invalid calls. It logs when that begins, and when it ends.
func (g *guards) tooManyInvalid(look *limiter.Look) *LaterError {
	answer, known := look.Under(invalidLimit())
	if known && answer.Verdict.Allowed {
		g.m.setInvalid(answer.Usage.Used)
		if g.stopped.CompareAndSwap(true, false) {
			g.log.Info("discord is called again: invalid calls have left the window")
		}
		return nil
	}
	g.m.setInvalid(max(answer.Usage.Used, invalidMax)) // it is not known if processes have counted too many without Redis
	if g.stopped.CompareAndSwap(false, true) {
		g.log.Error("discord is not called for now, because it would ban this address for more invalid calls",
			"calls", invalidMax, "window", invalidWindow)
	}
	after := maxHold
	if known {
		after = min(max(answer.Verdict.RetryAfter, time.Second), maxHold)
	}
	return &LaterError{after, "too many calls of Discord were invalid"}
}
