package ingress

import (
	"context"
	"errors"
	"time"

	"arrakis/pipeline/contract"
	"arrakis/pipeline/lanes"
	"arrakis/pipeline/tracing"
)

// way is the way of a message into its stream or its lane.
type way struct {
	passage *lanes.Passage // nil: without lanes, or ended
	trace   *tracing.Trace // of the publishing; nil if it is not recorded, or ended
}

// laterHeaders is more than what the headers take that a message gets after enter.
const laterHeaders = 300

// enter decides where m is stored. It may wait; an error is ctx's, or a *storeError if the community's lane has no room
// for m. The caller must call end or endLater.
func (in *Ingress) enter(ctx context.Context, m *message) (*way, error) {
	if in.door == nil {
		return &way{}, nil
	}
	size := contract.Size(m.msg.Subject, m.msg.Header, m.msg.Data) + laterHeaders
	p, err := in.door.Enter(ctx, lanes.Key{Kind: m.kind, Community: m.envelope.TenantKey}, size)
	if errors.Is(err, lanes.ErrFull) {
		return nil, &storeError{err}
	}
	if err != nil {
		return nil, err
	}
	if p.Subject != "" {
		m.setHeader(contract.HeaderSubject, m.msg.Subject)
		m.msg.Subject, m.lane = p.Subject, true
	}
	return &way{passage: &p}, nil
}

// ended ends the recording of the publishing. failure names what went wrong, "" is nothing. It may be called again, without
// effect.
func (w *way) ended(failure string) {
	w.trace.End(time.Now(), failure)
	w.trace = nil
}

// end says that the message is stored, or is not going to be. It may be called again.
func (w *way) end() {
	w.ended("")
	if w.passage != nil {
		w.passage.End()
		w.passage = nil
	}
}

// endLater ends a way whose message may still be stored within a time.
func (w *way) endLater(timeout time.Duration) {
	if w.passage != nil {
		time.AfterFunc(timeout, w.end)
	}
}
