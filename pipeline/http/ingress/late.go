package ingress

import (
	"context"
	"strings"
	"time"

	"arrakis/pipeline/contract"
	"arrakis/pipeline/http/idempotency"
)

// lateFor is how long the outcome of a message is waited for after its client was answered 504. By default a command
// expires at this age.
const lateFor = 15 * time.Minute

// late is a message whose client was answered 504. When its outcome arrives, the answer is kept for the client that
// repeats the request.
type late struct {
	mark      *idempotency.Mark
	envelope  contract.Envelope // IDs only
	requestID string
	until     time.Time // nobody waits for the outcome after this time
}

// keepLate takes over the mark of m, whose waiter gives up, unless the outcome has arrived at this moment: then it
// reports true. A community may have as many late answers as requests in flight, and all communities together as well.
// The mark of a further one is dropped.
func (in *Ingress) keepLate(token string, m *message, now time.Time) (arrived bool) {
	community := strings.Clone(m.envelope.TenantKey) // cloned, because the envelope shares the memory of a body
	l := &late{
		mark: m.mark, envelope: contract.Envelope{EventID: strings.Clone(m.envelope.EventID), TenantKey: community},
		requestID: m.requestID(), until: now.Add(lateFor),
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	w, waits := in.waiting[token]
	if !waits {
		return true
	}
	m.mark = nil
	if in.phase != running || in.numLate == in.options.MaxInFlight || in.latePerCommunity[community] == in.share() {
		l.mark.Drop()
		return false
	}
	in.numLate++
	in.latePerCommunity[community]++
	w.late = l
	return false
}

// removeLateLocked forgets a late answer. The caller must hold in.mu.
func (in *Ingress) removeLateLocked(token string, l *late) {
	delete(in.waiting, token)
	in.numLate--
	if in.latePerCommunity[l.envelope.TenantKey]--; in.latePerCommunity[l.envelope.TenantKey] == 0 {
		delete(in.latePerCommunity, l.envelope.TenantKey)
	}
}

// end keeps or forgets the request, by the outcome of its message.
func (l *late) end(ctx context.Context, outcome []byte) {
	a := newAnswer(outcome, l.envelope)
	a.end(ctx, l.mark, l.requestID)
}

// dropLate drops the marks that have been waited for long enough.
func (in *Ingress) dropLate(now time.Time) {
	in.mu.Lock()
	defer in.mu.Unlock()
	for token, w := range in.waiting {
		if w.late != nil && now.After(w.late.until) {
			in.removeLateLocked(token, w.late)
			w.late.mark.Drop()
		}
	}
}
