package ingress

import (
	"errors"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nuid"
)

// Why a request is not let in.
var (
	errNotRunning = errors.New("the ingress is not running")
	errBusy       = errors.New("too many requests are in flight")
	errCrowded    = errors.New("too many requests of the community are in flight")
)

// share is the part of MaxInFlight that one community may take, a fourth: none
// fills the ingress for the others.
const share = 4

// enter lets a request in, which then calls leave, or says why not:
// errNotRunning or errBusy.
func (in *Ingress) enter() error {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.phase != running {
		return errNotRunning
	}
	if in.inFlight >= in.options.MaxInFlight {
		return errBusy
	}
	in.inFlight++
	in.metrics.inFlight.Inc()
	return nil
}

func (in *Ingress) leave() {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.inFlight--
	in.metrics.inFlight.Dec()
	in.closeIdleLocked()
}

// join counts a request that was let in for its community, and reports false if
// that has its share in flight. Who joins parts.
func (in *Ingress) join(community string) bool {
	in.mu.Lock()
	defer in.mu.Unlock()
	n, ok := in.perCommunity[community]
	if !ok {
		n = new(int)
		in.perCommunity[strings.Clone(community)] = n // it is a view of one request's body
	}
	if *n >= max(1, in.options.MaxInFlight/share) {
		return false
	}
	*n++
	return true
}

func (in *Ingress) part(community string) {
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

// closeIdleLocked tells Run that nothing is left to wait for: no request enters
// while draining, so inFlight becomes 0 once. The caller must hold in.mu.
func (in *Ingress) closeIdleLocked() {
	if in.phase == draining && in.inFlight == 0 {
		close(in.idle)
	}
}

// expect makes a token and the channel on which its outcome will come. The
// caller must forget the token when it stops waiting.
func (in *Ingress) expect() (token string, outcome <-chan []byte) {
	ch := make(chan []byte, 1)
	token = nuid.Next()
	in.mu.Lock()
	defer in.mu.Unlock()
	in.waiting[token] = ch
	return token, ch
}

func (in *Ingress) forget(token string) {
	in.mu.Lock()
	defer in.mu.Unlock()
	delete(in.waiting, token)
}

// deliver hands an outcome to the request that waits for it. It never blocks:
// the token goes with its first outcome, for which the channel has room. An
// outcome that nobody waits for is late, or repeated by a redelivery.
func (in *Ingress) deliver(m *nats.Msg) {
	token := m.Subject[len(in.inbox)+1:]
	in.mu.Lock()
	ch, ok := in.waiting[token]
	delete(in.waiting, token)
	in.mu.Unlock()
	if !ok {
		in.metrics.unclaimed.Inc()
		return
	}
	ch <- m.Data
}
