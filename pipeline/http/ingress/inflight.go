package ingress

import (
	"context"
	"errors"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nuid"

	"arrakis/pipeline/contract"
)

// Why a request is refused before its message is stored.
var (
	errNotRunning    = errors.New("the ingress is not running")
	errBusy          = errors.New("too many requests are in flight")
	errCommunityBusy = errors.New("too many requests of the community are in flight")
)

// sharesInFlight is the number of equal shares of MaxInFlight. One community may have one share in flight, so that it
// cannot keep other communities out.
const sharesInFlight = 4

// acquireSlot counts a request as in flight. Errors are errNotRunning and errBusy. After success the caller must call
// releaseSlot.
func (in *Ingress) acquireSlot() error {
	in.mu.Lock()
	defer in.mu.Unlock()
	if err := in.hasSlotLocked(); err != nil {
		return err
	}
	in.inFlight++
	in.metrics.inFlight.Inc()
	return nil
}

// hasSlot returns the error that acquireSlot would return.
func (in *Ingress) hasSlot() error {
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.hasSlotLocked()
}

// The caller of hasSlotLocked must hold in.mu.
func (in *Ingress) hasSlotLocked() error {
	switch {
	case in.phase != running:
		return errNotRunning
	case in.inFlight >= in.options.MaxInFlight:
		return errBusy
	default:
		return nil
	}
}

func (in *Ingress) releaseSlot() {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.inFlight--
	in.metrics.inFlight.Dec()
	in.closeIdleLocked()
}

// acquireShare counts a request as in flight for its community. It reports false if the community's share is used up.
// If it reports true, the caller must call releaseShare.
func (in *Ingress) acquireShare(community string) bool {
	in.mu.Lock()
	defer in.mu.Unlock()
	n, ok := in.perCommunity[community]
	if !ok {
		n = new(int)
		in.perCommunity[strings.Clone(community)] = n // cloned, because community shares the memory of a body
	}
	if *n >= in.share() {
		return false
	}
	*n++
	return true
}

// share is how many requests of one community may be in flight.
func (in *Ingress) share() int { return max(1, in.options.MaxInFlight/sharesInFlight) }

func (in *Ingress) releaseShare(community string) {
	in.mu.Lock()
	defer in.mu.Unlock()
	n := in.perCommunity[community]
	if *n--; *n == 0 {
		delete(in.perCommunity, community)
	}
}

func (in *Ingress) setPhase(p phase) {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.phase = p
	in.closeIdleLocked()
}

// closeIdleLocked tells Run that the last request has ended. No slot is acquired while the ingress drains, so inFlight
// becomes 0 only once. The caller must hold in.mu.
func (in *Ingress) closeIdleLocked() {
	if in.phase == draining && in.inFlight == 0 {
		close(in.idle)
	}
}

// waiter waits for the outcome of a message.
type waiter struct {
	outcome chan *nats.Msg // of capacity 1; sent to at most once
	late    *late          // not nil if no request waits any more; protected by Ingress.mu
}

// addWaiter makes a token for a message, and the channel on which the message's outcome arrives. The caller must call
// removeWaiter when it stops waiting.
func (in *Ingress) addWaiter() (token string, outcome <-chan *nats.Msg) {
	w := &waiter{outcome: make(chan *nats.Msg, 1)}
	token = nuid.Next()
	in.mu.Lock()
	defer in.mu.Unlock()
	in.waiting[token] = w
	return token, w.outcome
}

// removeWaiter removes a waiter, unless the outcome is waited for as a late one. It reports false if the outcome has
// arrived, or is about to: then it is in the waiter's channel, or will be at once.
func (in *Ingress) removeWaiter(token string) bool {
	in.mu.Lock()
	defer in.mu.Unlock()
	w := in.waiting[token]
	if w != nil && w.late == nil {
		delete(in.waiting, token)
	}
	return w != nil
}

// deliverOutcome passes an outcome to the waiting request. It does not block for long: the channel has room for one
// outcome, and the token is removed with the first outcome. An outcome without a waiting request is late, or is the
// second outcome of a message that was delivered again; a worker that asks is told so.
func (in *Ingress) deliverOutcome(ctx context.Context, m *nats.Msg) {
	token := m.Subject[len(in.inbox)+1:]
	w := in.takeWaiter(token)
	switch {
	case w == nil && m.Reply != "":
		in.tell(m, contract.TakenLate)
	case w == nil:
		in.metrics.unclaimed.Inc()
	case w.late != nil:
		w.late.end(ctx, m.Data)
	default:
		w.outcome <- m
	}
}

// takeWaiter removes and returns the waiter of a token, or returns nil.
func (in *Ingress) takeWaiter(token string) *waiter {
	in.mu.Lock()
	defer in.mu.Unlock()
	w := in.waiting[token]
	if w != nil && w.late != nil {
		in.removeLateLocked(token, w.late)
	} else {
		delete(in.waiting, token)
	}
	return w
}
