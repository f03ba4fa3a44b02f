package ingress

import (
	"errors"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nuid"
)

// Why a request is not let in.
var (
	errNotRunning = errors.New("the ingress is not running")
	errBusy       = errors.New("too many requests are in flight")
)

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
