package pipeline

import (
	"sync"
	"time"
)

// suspectPlace is the place of the one suspect that runs in a process; see attemptCounter. It is safe for concurrent
// use.
type suspectPlace struct {
	lasts time.Duration // after this time a handler has ignored that its time was up, and the place is free again

	mu     sync.Mutex // protects the fields below
	holder *delivery  // nil: the place is free
	since  time.Time
}

// take gives d the place if it is free.
func (p *suspectPlace) take(d *delivery, now time.Time) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.holder != nil && now.Sub(p.since) < p.lasts {
		return false
	}
	p.holder, p.since = d, now
	return true
}

// leave frees the place, if d still holds it.
func (p *suspectPlace) leave(d *delivery) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.holder == d {
		p.holder = nil
	}
}
